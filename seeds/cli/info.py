"""`seeds info`: what is in a weight file, or in this installation."""

import importlib.metadata
import json
import math
import platform
from typing import Any

import click

from seeds.cli.options import JSON


@click.command()
@click.argument("file", required=False, metavar="[FILE|NAME]")
@JSON
def info(file: str | None, as_json: bool) -> None:
    """Show what a weight file holds, or what is installed.

    Of a file: class, arguments, parameters, noise range, hashes. Without one: bundled models, solvers, versions.
    """
    from seeds.checkpoints import info as checkpoint_info

    facts = checkpoint_info(file) if file else installation()
    click.echo(json.dumps(strict(facts), indent=2, default=str, allow_nan=False) if as_json else rows(facts))


def installation() -> dict[str, Any]:
    """Bundled models, solvers, versions."""
    from seeds import SOLVERS, __version__
    from seeds.checkpoints import bundled

    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "safetensors")}
    models = {name: f"{path.stat().st_size / 1e6:.1f} MB" for name, path in bundled().items()}
    return {
        "seeds": __version__,
        "python": platform.python_version(),
        **packages,
        "models": models,
        "solvers": ", ".join(("auto", *SOLVERS)),
    }


def strict(value: Any) -> Any:
    """The same with "inf", "-inf" and "nan" as text, since JSON has no such numbers; Python's float reads them back."""
    if isinstance(value, dict):
        return {name: strict(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [strict(held) for held in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def rows(facts: dict[str, Any]) -> str:
    """`name  value` lines, aligned; a dict becomes indented lines of its own."""
    lines: list[str] = []
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        if isinstance(value, dict):
            inner = [f"{name} = {item}" for name, item in value.items()] or ["none"]
            lines += [f"{key if i == 0 else '':{width}}  {line}" for i, line in enumerate(inner)]
        elif value is not None:
            lines.append(f"{key:{width}}  {f'{value:,}' if type(value) is int else value}")
    return "\n".join(lines)
