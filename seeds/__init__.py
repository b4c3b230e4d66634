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
        public = importlib.import_module("seeds.public")
        if name in ("__all__", *getattr(public, "__all__", ())):  # of which there are none yet while it loads
            return globals().setdefault(name, getattr(public, name))
        if importlib.util.find_spec(f"seeds.{name}"):
            return importlib.import_module(f"seeds.{name}")
    raise AttributeError(f"module 'seeds' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
