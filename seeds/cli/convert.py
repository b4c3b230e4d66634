"""`seeds convert`: an EDM checkpoint, or a network of guided-diffusion, read as data, becomes safetensors."""

import warnings
from pathlib import Path

import click

from seeds.cli import options
from seeds.cli.info import rows
from seeds.cli.options import Flag


@click.command()
@click.argument("source", metavar="IN.pkl|IN.pt|URL")
@click.argument("out", metavar="OUT.safetensors", type=options.FilePath(dir_okay=False))
@Flag("--sha256", "Refuse the source unless it has this SHA-256.", metavar="HEX")
@Flag("--max-size", "Refuse a larger source.", options.POSITIVE, metavar="MIB", default=4096)
@Flag("--image-size", "Of a guided-diffusion network, whose file does not say.", options.POSITIVE, default=64)
@Flag("--strict", "Refuse what would be converted with a warning.", is_flag=True)
def convert(source: str, out: Path, sha256: str | None, max_size: int, image_size: int, strict: bool) -> None:
    """Turn an EDM pickle or a guided-diffusion .pt into safetensors, without running it.

    A pickle is read as data: nothing in it runs. Its embedded source text is hashed and dropped; where it is not the
    published one, the network may compute otherwise than ours, and a warning says so. The .pt is OpenAI's
    64x64_diffusion.pt, read with weights_only=True. An https address is fetched into a cache ($SEEDS_CACHE, default
    ~/.cache/seeds). The SHA-256 of what was read is printed; give it to --sha256 next time.
    """
    from seeds.checkpoints import CheckpointWarning
    from seeds.checkpoints import convert as convert_checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # it is among the facts
        facts = convert_checkpoint(
            source, out, sha256=sha256, max_bytes=max_size << 20, strict=strict, image_size=image_size
        )
    click.echo(rows(facts))
    if "warning" in facts["about"]:
        click.echo(f"Warning: {facts['about']['warning']}", err=True)
