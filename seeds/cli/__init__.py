"""The command line. Each command is one call of the library; what can go wrong ends in one sentence and an exit
code."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

import seeds
from seeds.cli.session import Session
from seeds.distributed import LeaderError, joined
from seeds.errors import SeedsError

FAILURE, INTERRUPTED = 1, 130

COMMANDS = {
    "sample": ("seeds.cli.sample:sample", "Draw images, a PNG for each seed."),
    "plan": ("seeds.cli.plan:plan", "Print what a run would do, and check its laws."),
    "convert": (
        "seeds.cli.convert:convert",
        "Turn an EDM pickle or a guided-diffusion .pt into safetensors, without running it.",
    ),
    "info": ("seeds.cli.info:info", "Show what a weight file holds, or what is installed."),
    "ref": ("seeds.cli.metrics:ref", "Write the reference statistics of images."),
    "fid": (
        "seeds.cli.metrics:fid",
        "Squared Frechet distance of images to a reference (FID when the features are Inception's).",
    ),
    "is": ("seeds.cli.metrics:is_", "Inception score of images, under a classifier."),
    "kid": ("seeds.cli.metrics:kid", "Kernel distance of images to a reference: KID."),
    "bench": ("seeds.cli.bench:bench", "Compare samplers at equal numbers of model calls."),
    "curves": ("seeds.cli.curves:curves", "Measure solvers at several numbers of model calls."),
}
"""Where each command is, and the first sentence of its help: the list is shown without loading any."""


class Commands(click.Group):
    """The commands, each loaded when it is called. Their modules load torch when they have something to do, not to read
    what was typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(module), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(seeds.__version__, prog_name="seeds")
@click.pass_context
def commands(context: click.Context) -> None:
    """Fast, provably right stochastic sampling from diffusion models."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    2: an argument is wrong; 1: something failed (a file, the disk, NaN, the model); 130: Ctrl-C. The message is one
    sentence on stderr; with SEEDS_DEBUG=1 in the environment the traceback is shown instead.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with joined() as group:
            message, code = _run(Session(words, group))
            # what all processes find is said once
            if message and (group.first if code == INTERRUPTED else group.news(message)):
                click.echo(f"Error: {message}", err=True)
            return code
    except ConnectionError as error:
        click.echo(f"Error: {error}", err=True)
        return FAILURE


def _run(session: Session) -> tuple[str, int]:
    """What went wrong, or nothing, and the exit code."""
    try:
        return "", commands.main(list(session.arguments), prog_name="seeds", standalone_mode=False, obj=session) or 0
    except LeaderError:
        return "", FAILURE  # rank 0 has said why
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "seeds"
        return f"{error.format_message()} Try {path} --help.", error.exit_code
    except click.ClickException as error:
        return error.format_message(), error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return "Interrupted. Every file that is there is whole; a run is completed with --resume.", INTERRUPTED
    except Exception as error:
        if os.environ.get("SEEDS_DEBUG", "0") not in ("", "0"):
            raise
        return _explain(error)


def _is(error: Exception, name: str) -> bool:
    """Whether an error is of that class; it is not where nobody has loaded its module."""
    module, _, kind = name.rpartition(".")
    return module in sys.modules and isinstance(error, getattr(sys.modules[module], kind))


def _explain(error: Exception) -> tuple[str, int]:
    """One sentence about an error, and the exit code."""
    if isinstance(error, SeedsError):
        return str(error), error.exit_code
    if isinstance(error, FloatingPointError):
        return str(error), FAILURE
    if isinstance(error, OSError):
        return (f"{error.filename}: {error.strerror}." if error.filename else str(error)), FAILURE
    first = str(error).strip().partition("\n")[0]
    if _is(error, "torch.distributed.DistError"):
        return (
            f"This process has lost the others ({first}). Every file that is there is whole; --resume makes the rest.",
            FAILURE,
        )
    return f"{type(error).__name__}: {first} (SEEDS_DEBUG=1 shows where.)", FAILURE
