"""What a command knows of its call: the words that were typed, and the processes it runs in; and how it warns."""

import os
import shlex
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import click

import seeds
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

    @property
    def call(self) -> dict[str, Any]:
        """What a run or a study is told of it."""
        return {"group": self.group, "version": seeds.__version__, "command": self.command}

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


pass_session = click.make_pass_decorator(Session, ensure=True)
"""Gives a command the session as its first argument."""


class Command(click.Command):
    """A command that prints any UserWarning as a sentence, when it comes up, each once."""

    def invoke(self, context: click.Context) -> Any:
        session = context.obj or Session()
        said: set[str] = set()
        usual = warnings.showwarning

        def say(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, UserWarning):
                usual(message, category, *where, **more)
            elif (text := str(message)) not in said and session.group.news(f"warning {text}"):
                said.add(text)
                with suppress(OSError):
                    click.echo(f"Warning: {text}", err=True)

        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = say
            return super().invoke(context)
