"""Fast, provably right stochastic sampling from diffusion models: SEEDS, the exponential SDE solvers, and their rivals, from one plan.

The public names are those of `seeds.public`, which loads torch; they are taken from there when one is first asked for, so that what needs no torch
(the command line's help, a submodule) does not wait for it.
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
