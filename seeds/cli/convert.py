"""`seeds convert`: an EDM checkpoint, read as data, becomes safetensors."""

from pathlib import Path

import click

from seeds.cli import options
from seeds.cli.info import rows


@click.command()
@click.argument("source", metavar="IN.pkl|URL")
@click.argument("out", metavar="OUT.safetensors", type=options.Place(dir_okay=False))
@click.option("--sha256", metavar="HEX", help="Refuse the source unless it has this SHA-256.")
@click.option("--max-size", metavar="MIB", type=click.IntRange(1), default=4096, show_default=True, help="Refuse a larger source.")
def convert(source: str, out: Path, sha256: str | None, max_size: int) -> None:
    """Turn an EDM pickle into safetensors, without running it.

    The pickle is read as data: nothing in it runs, and its embedded source text is dropped. An https address is fetched
    into a cache ($SEEDS_CACHE, default ~/.cache/seeds). The SHA-256 of what was read is printed; give it to --sha256 next time.
    """
    from seeds.checkpoints import CheckpointError
    from seeds.checkpoints import convert as convert_checkpoint

    try:
        facts = convert_checkpoint(source, out, sha256=sha256, max_bytes=max_size << 20)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from None
    click.echo(rows(facts))
