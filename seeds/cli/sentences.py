"""Commands whose warnings are sentences, told when they come up, each once."""

import warnings
from contextlib import suppress
from typing import Any

import click

from seeds.cli.session import Session


class Command(click.Command):
    """A command that prints any UserWarning as a sentence."""

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
