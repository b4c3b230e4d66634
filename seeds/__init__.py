"""Fast, provably right stochastic sampling from diffusion models: SEEDS, the exponential SDE solvers, and their rivals,
from one plan.

Where things are:

    solvers/        a solver is a function that writes a plan: one line each in builtin.py, with the writer of
                    writer.py, entered by registry.py;
                    rivals/ has what others published. An option of a solver, with its line of help, stands in that
                    function's signature.
    laws/           what a solver must pass: `seeds.laws.check`; docs/write-a-solver.md
    schedules, grids, predictions, integrals, tableaus, variables       the mathematics, on the host
    planning, plans, stepper, sampling      from arguments to a plan, and the loop that runs every plan; inputs, source
                                            and watch help the loop
    noise/          random numbers, each a function of seed, draw and place
    denoisers, exact, preconditioners, joint, conditions, densities     what a model is to a run; checking, modules and
                                                                        tuning look after networks
    networks/, checkpoints/, data/          EDM's networks, weight files, and what is bundled
    images/         pixels.py: PNG files, from values to pixels and back; sets.py: folders, zips, npz, IDX
    metrics/        FID, KID, Inception score, precision and recall
    runs/           what the command line writes: folders of images (folder.py), studies (measuring.py)
    report/         tables, plots and the page of a study
    cli/            a file for each command; options.py and jobs.py have the help text of the options that commands
                    share
    integrations/   diffusers, k-diffusion, ComfyUI
    names, errors, storage, distributed     what all of them use

The public names are those of `seeds.public`, which loads torch; they are taken from there when one is first asked for,
so that what needs no torch (the command line's help, a submodule) does not wait for it.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seeds.public import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """A public name, or a submodule."""
    if name == "__all__" or not name.startswith("__"):
        if importlib.util.find_spec(f"seeds.{name}"):  # first: modules that load one another ask for no public name
            return importlib.import_module(f"seeds.{name}")
        public = importlib.import_module("seeds.public")
        if name in ("__all__", *public.__all__):
            return globals().setdefault(name, getattr(public, name))
    raise AttributeError(f"module 'seeds' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
