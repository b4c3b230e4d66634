"""`seeds sample`: images into a folder."""

import shlex
from pathlib import Path
from typing import Any

import click

import seeds
from seeds.cli import jobs, models, options
from seeds.cli.sentences import Command
from seeds.cli.session import Session, pass_session

SEEDS = "0-63"


@click.command(
    cls=Command,
    epilog="The options of the authors' scripts work too (--solver etd-serk --order 3 --steps 21 ...): "
    "docs/authors-options.md.",
)
@click.option(*jobs.MODEL, default=models.DEFAULT, show_default=True, help="A bundled name, a file, or module:factory.")
@click.option(
    "--out",
    "--outdir",
    "out",
    type=options.FilePath(),
    default="out",
    show_default=True,
    help="The folder to fill; or a file to make: images.zip, images.npz.",
)
@click.option(
    "--seeds",
    "seed_text",
    help=f"One image each: 0-63 or 1,2,5-10.  [default: {SEEDS}; with --class each:N as many as it needs]",
)
@click.option(
    "--batch", type=click.IntRange(1), default=64, show_default=True, help="Images the model is asked about at once."
)
@jobs.job_options()
@click.option(
    "--data",
    type=options.FilePath(),
    help="Image-to-image: begin from these images, one for each seed; a folder, zip, npz or IDX file.",
)
@click.option(
    "--plan",
    type=options.FilePath(),
    help="Run the plan in this file, of seeds plan --out or Plan.save, instead of options that make one.",
)
@click.option(
    "--start", type=float, metavar="NSR", help="The noise level that --data is brought to; higher keeps less of it."
)
@jobs.device
@jobs.threads
@click.option("--subdirs", is_flag=True, help="A folder for each thousand seeds.")
@click.option(
    "--shard",
    type=options.SHARD,
    default="1/1",
    metavar="I/N",
    help="Draw part I of N only: for N jobs that fill one folder.",
)
@click.option("--resume", is_flag=True, help="Complete the run in the folder, with the bytes of an unbroken one.")
@pass_session
def sample(
    session: Session,
    model: str,
    out: Path,
    seed_text: str | None,
    batch: int,
    device: str | None,
    threads: int | None,
    subdirs: bool,
    shard: tuple[int, int],
    resume: bool,
    **given: Any,
) -> None:
    """Draw images, a PNG for each seed.

    Beside them lie grid.png, a look at the first, and run.json, which holds all that repeats the run. Several
    processes, also on several
    machines: torchrun --nproc_per_node=K -m seeds sample ...
    """
    from seeds import runs

    asked = None if seed_text is None else runs.parse_seeds(seed_text)
    source = jobs.loaded(session, model, device)
    seed = jobs.seeds_of(asked, given["label"], source) or runs.parse_seeds(SEEDS)
    job = jobs.job(source, seed, batch, **given)
    record = runs.run(
        job,
        out,
        subdirs=subdirs,
        resume=resume,
        shard=shard,
        group=session.group,
        threads=threads,
        version=seeds.__version__,
        command=session.command,
    )
    left = f", {record['missing']} still to come from the other shards" if "missing" in record else ""
    session.say(
        f"{len(seed)} images ({record['drawn']} drawn last{left}), {job.plan.nfe} NFE each, {record['seconds']:.1f} s: "
        f"{out}"
    )
    if not left:
        session.say(next_step(out))


def next_step(out: Path) -> str:
    """What to do with a run that is done."""
    from seeds.runs.folder import GRID

    place = shlex.quote(str(out))
    look = f"Look at {out / GRID}; its" if out.is_dir() else "Its"
    return f"{look} distance to a reference: seeds fid {place} (--ref, --features: docs/measure.md)."
