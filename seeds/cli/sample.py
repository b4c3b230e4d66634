"""`seeds sample`: images into a folder."""

import shlex
from pathlib import Path
from typing import Any

import click

from seeds.cli import jobs, models
from seeds.cli.options import POSITIVE, SHARD, FilePath, Flag
from seeds.cli.session import Command, Session, pass_session

SEEDS = "0-63"


@click.command(
    cls=Command,
    epilog="The options of the authors' scripts work too (--solver etd-serk --order 3 --steps 21 ...): "
    "docs/authors-options.md.",
)
@Flag(jobs.MODEL, "A bundled name, a file, or module:factory.", default=models.DEFAULT)
@Flag("--out --outdir out", "The folder to fill; or a file to make: images.zip, images.npz.", FilePath(), default="out")
@Flag(
    "--seeds seed_text",
    f"One image each: 0-63 or 1,2,5-10.  [default: {SEEDS}; with --class each:N as many as it needs]",
)
@Flag("--batch", "Images the model is asked about at once.", POSITIVE, default=64)
@jobs.job_options()
@Flag(
    "--data", "Image-to-image: begin from these images, one for each seed; a folder, zip, npz or IDX file.", FilePath()
)
@Flag(
    "--plan",
    "Run the plan in this file, of seeds plan --out or Plan.save, instead of options that make one.",
    FilePath(),
)
@Flag("--start", "The noise level that --data is brought to; higher keeps less of it.", float, metavar="NSR")
@jobs.device
@jobs.threads
@Flag("--subdirs", "A folder for each thousand seeds.", is_flag=True)
@Flag("--shard", "Draw part I of N only: for N jobs that fill one folder.", SHARD, default="1/1", metavar="I/N")
@Flag("--resume", "Complete the run in the folder, with the bytes of an unbroken one.", is_flag=True)
@pass_session
def sample(
    session: Session, model: str, out: Path, seed_text: str | None, batch: int, device: str | None, **given: Any
) -> None:
    """Draw images, a PNG for each seed.

    Beside them lie grid.png, a look at the first, and run.json, which holds all that repeats the run. Several
    processes, also on several
    machines: torchrun --nproc_per_node=K -m seeds sample ...
    """
    from seeds import runs

    asked = None if seed_text is None else runs.parse_seeds(seed_text)
    source = models.load_model(model, session.device(device))
    seed = jobs.seeds_of(asked, given["label"], source) or runs.parse_seeds(SEEDS)
    how = {name: given.pop(name) for name in ("subdirs", "resume", "shard", "threads")}
    job = jobs.job(source, seed, batch, **given)
    record = runs.run(job, out, **how, **session.call)
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
