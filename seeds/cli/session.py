"""What a command knows of its call: the words that were typed, and the processes it runs in."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import click

from seeds.distributed import Group


@dataclass(frozen=True)
class Session:
    """One call of the command line, by one process or by each of a group.

    Attributes:
        arguments: what was typed behind `seeds`.
        group: the processes that were started together.
    """

    arguments: Sequence[str] = ()
    group: Group = field(default_factory=Group)

    @property
    def command(self) -> str:
        """The line to type."""
        return shlex.join(["seeds", *self.arguments])

    def say(self, text: object, err: bool = False) -> None:
        """Prints a line, once for the whole group. An stderr that nobody reads any more ends nothing."""
        if self.group.first:
            try:
                click.echo(text, err=err)
            except OSError:
                if not err:
                    raise

    def device(self, asked: str | None) -> str | None:
        """The device asked for; of the GPUs of a machine, each process of a group has its own."""
        if asked not in (None, "cuda") or "LOCAL_RANK" not in os.environ:
            return asked
        import torch

        return f"cuda:{self.group.local % torch.cuda.device_count()}" if torch.cuda.is_available() else asked


def pass_session(command: Callable) -> Callable:
    """Gives a command the session as its first argument."""

    @wraps(command)
    def call(*arguments: Any, **options: Any) -> Any:
        return command(click.get_current_context().obj or Session(), *arguments, **options)

    return call
