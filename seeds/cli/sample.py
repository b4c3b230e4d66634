"""`seeds sample`: images into a folder."""

from pathlib import Path
from typing import Any

import click

import seeds
from seeds import runs
from seeds.cli import models, options
from seeds.cli.session import Session
from seeds.sampling import plan_for


@click.command(epilog="The options of the authors' scripts work too (--solver etd-serk --order 3 --steps 21 ...): docs/authors-options.md.")
@click.option("--model", "--network", "model", default=models.DEFAULT, show_default=True, help="A bundled name, a file, or module:factory.")
@click.option(
    "--out",
    "--outdir",
    "out",
    type=click.Path(path_type=Path),
    default="out",
    show_default=True,
    help="The folder to fill; or a file: images.zip, images.npz.",
)
@click.option("--seeds", "seed_text", default="0-63", show_default=True, help="One image each: 0-63 or 1,2,5-10.")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Images the model is asked about at once.")
@click.option("--class", "label", type=int, help="The class of all images.  [default: one is drawn for each seed]")
@click.option("--guidance", type=float, default=1.0, show_default=True, help="Scale of classifier-free guidance; 1 is none.")
@options.plan_options
@click.option("--noise", help="gaussian or two-point.  [default: gaussian]")
@click.option("--noise_type", hidden=True)
@click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]")
@click.option("--dtype", type=click.Choice(list(runs.DTYPES)), default="float32", show_default=True, help="Of the state.")
@click.option("--threads", type=click.IntRange(1), help="Of the CPU.  [default: torch's choice, or those of the run resumed]")
@click.option("--subdirs", is_flag=True, help="A folder for each thousand seeds.")
@click.option("--shard", type=options.Shard(), default="1/1", metavar="I/N", help="Draw part I of N only: for N jobs that fill one folder.")
@click.option("--resume", is_flag=True, help="Complete the run in the folder, with the bytes of an unbroken one.")
@click.pass_obj
def sample(
    session: Session,
    model: str,
    out: Path,
    seed_text: str,
    batch: int,
    label: int | None,
    guidance: float,
    device: str | None,
    dtype: str,
    threads: int | None,
    subdirs: bool,
    shard: tuple[int, int],
    resume: bool,
    **plan_options: Any,
) -> None:
    """Draw images: one PNG for each seed, grid.png, and run.json, which says all that repeats them.

    Several processes, also on several machines: torchrun --nproc_per_node=K -m seeds sample ...
    """
    seed = runs.parse_seeds(seed_text)
    found = models.load_model(model, session.device(device))
    arguments = options.arguments(plan_options, getattr(found.denoiser, "nsr_range", None))
    noise = arguments.pop("noise", "gaussian")
    job = runs.Job(
        found.denoiser,
        plan_for(found.denoiser, **arguments),
        seed,
        model=found.name,
        model_hash=found.sha256,
        batch=batch,
        label=label,
        guidance=guidance,
        noise=noise,
        dtype=dtype,
        device=found.device,
    )
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
    session.say(f"{len(seed)} images ({record['drawn']} drawn last{left}), {job.plan.nfe} NFE each, {record['seconds']:.1f} s: {out}")
