"""The command line. Each command is one call of the library; what can go wrong ends in one sentence and an exit
code."""

import importlib
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword

import click

import seeds
from seeds.cli.session import Session
from seeds.distributed import LeaderError, joined
from seeds.errors import SeedsError

FAILURE, INTERRUPTED = 1, 130

COMMANDS = {
    "sample": ("sample", "Draw images, a PNG for each seed."),
    "plan": ("plan", "Print what a run would do, and check its laws."),
    "convert": ("convert", "Turn an EDM pickle or a guided-diffusion .pt into safetensors, without running it."),
    "info": ("info", "Show what a weight file holds, or what is installed."),
    "ref": ("metrics", "Write the reference statistics of images."),
    "fid": ("metrics", "Squared Frechet distance of images to a reference (FID when the features are Inception's)."),
    "is": ("metrics", "Inception score of images, under a classifier."),
    "kid": ("metrics", "Kernel distance of images to a reference: KID."),
    "bench": ("bench", "Compare samplers at equal numbers of model calls."),
    "curves": ("curves", "Measure solvers at several numbers of model calls."),
}
"""The module that each command is in, and the first sentence of its help: the list is shown without loading any."""


class Commands(click.Group):
    """The commands, each loaded when it is called. Their modules load torch when they have something to do, not to read
    what was typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"seeds.cli.{COMMANDS[cmd_name][0]}")
        return getattr(module, f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name)

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


def _explain(error: Exception) -> tuple[str, int]:
    """One sentence about an error, and the exit code."""
    if isinstance(error, SeedsError):
        return str(error), error.exit_code
    if isinstance(error, FloatingPointError):
        return str(error), FAILURE
    if isinstance(error, OSError):
        return (f"{error.filename}: {error.strerror}." if error.filename else str(error)), FAILURE
    first = str(error).strip().partition("\n")[0]
    if "DistError" in (kind.__name__ for kind in type(error).__mro__):  # torch's, which may not be loaded
        return (
            f"This process has lost the others ({first}). Every file that is there is whole; --resume makes the rest.",
            FAILURE,
        )
    return f"{type(error).__name__}: {first} (SEEDS_DEBUG=1 shows where.)", FAILURE
