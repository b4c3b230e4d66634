"""The command line. Each command is one call of the library; what can go wrong ends in one sentence and an exit code."""

import os
import sys
from collections.abc import Sequence

import click
from torch.distributed import DistError

import seeds
from seeds.checkpoints import CheckpointError
from seeds.cli import metrics
from seeds.cli.convert import convert
from seeds.cli.curves import curves
from seeds.cli.info import info
from seeds.cli.plan import plan
from seeds.cli.sample import sample
from seeds.cli.session import Session
from seeds.distributed import LeaderError, joined

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(seeds.__version__, prog_name="seeds")
@click.pass_context
def commands(context: click.Context) -> None:
    """Fast, provably right stochastic sampling from diffusion models."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (sample, plan, convert, info, *metrics.COMMANDS, curves):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    2: an argument is wrong; 1: something failed (a file, the disk, NaN, the model); 130: Ctrl-C. The message is one
    sentence on stderr; with SEEDS_DEBUG=1 in the environment the traceback is shown instead.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with joined() as group:
            message, code = _run(Session(given, group))
            if message and (group.first if code == INTERRUPTED else group.news(message)):  # what all processes find is said once
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


def _is_ours(error: Exception) -> bool:
    """Raised by this package, about what it was given; not by a caller's network, which may raise anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] == "seeds"


def _explain(error: Exception) -> tuple[str, int]:
    """One sentence about an error, and the exit code."""
    if isinstance(error, CheckpointError | FloatingPointError):
        return str(error), FAILURE
    if isinstance(error, ValueError) and _is_ours(error):
        return str(error), USAGE
    if isinstance(error, OSError):
        return (f"{error.filename}: {error.strerror}." if error.filename else str(error)), FAILURE
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, DistError):
        return f"This process has lost the others ({first}). Every file that is there is whole; --resume makes the rest.", FAILURE
    return f"{type(error).__name__}: {first} (SEEDS_DEBUG=1 shows where.)", FAILURE
