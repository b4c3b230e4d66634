"""What `--model` names: a bundled model, a file, or a function of the user's own."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import operator
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seeds.errors import InputError

DEFAULT = "fashion-unet"
WRAP = 'seeds.wrap(network, "noise", schedule="vp", shape=(3, 32, 32)) makes one of a network (docs/models.md).'


@dataclass(frozen=True)
class Model:
    """A denoiser, what it is called, the SHA-256 of the file it comes from, and the device it is on."""

    denoiser: Any
    name: str
    sha256: str
    device: str
    _tuned: list[Any] = field(default_factory=list, repr=False, compare=False)

    def tuned(self, dtype: str, compiled: bool) -> Any:
        """The denoiser, made faster as asked the first time: a command asks for one thing. Raises: ValueError as
        `seeds.tuning.tuned`."""
        from seeds.tuning import HALVES, tuned

        if not self._tuned:
            self._tuned.append(tuned(self.denoiser, dtype=dtype if dtype in HALVES else None, compiled=compiled))
        return self._tuned[0]


def load_model(source: str, device: str | None = None) -> Model:
    """The model that `source` names: a bundled name, a safetensors file, or module:factory, found from the current
    folder too.

    Args:
        device: "cpu", "cuda", ...; None is a GPU if there is one and the model can be moved, else where the model is.
    Raises: ValueError if there is no such model or device, or if it is a feature network; CheckpointError (a
        ValueError) as `checkpoints.load`.
    """
    from seeds import checkpoints
    from seeds.modules import check_device
    from seeds.networks.classifier import ConvClassifier

    if not source:
        raise InputError(
            f"`model` is empty. Give a file, module:factory, or a bundled name: {', '.join(checkpoints.bundled())}."
        )
    if device is not None:
        check_device(device)
    if re.fullmatch(r"[\w.]+:[\w.]+", source) and not Path(source).exists():
        denoiser, file = _made(source, device)
    else:
        denoiser, file = checkpoints.load(source), checkpoints.bundled().get(source, Path(source))
    if isinstance(denoiser, ConvClassifier):
        raise InputError(
            f"`model` = {source!r} is a feature network and no denoiser: it draws no images, it measures them "
            "(--features)."
        )
    denoiser, device = _placed(denoiser, device)
    return Model(denoiser, source, hashlib.sha256(file.read_bytes()).hexdigest(), device)


def look_here() -> None:
    """Modules are found from the current folder too."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _made(source: str, device: str | None) -> tuple[Any, Path]:
    """What module:factory returns, and the module's file."""
    module, _, factory = source.partition(":")
    look_here()
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin:
        raise InputError(
            f"`model` = {source!r}: there is no module {module}, in the current folder or where Python looks."
        )
    imported = importlib.import_module(module)
    try:
        make = operator.attrgetter(factory)(imported)
    except AttributeError:
        raise InputError(f"`model` = {source!r}: {spec.origin} has no {factory}.") from None
    return _called(source, make, device), Path(spec.origin)


def _called(source: str, make: Any, device: str | None) -> Any:
    """The denoiser that a factory makes. Raises: ValueError if it is no factory, or makes none."""
    import torch

    from seeds.networks.classifier import ConvClassifier

    takes = _parameters(make)
    needs = [name for name, parameter in takes.items() if parameter.default is parameter.empty and name != "device"]
    bare = isinstance(make, torch.nn.Module)
    if bare or not callable(make) or needs:
        what = f"needs {', '.join(needs)}" if needs and not bare else f"is a {type(make).__name__}"
        raise InputError(
            f"`model` = {source!r} {what}, but must be a function that takes nothing, or `device`, and returns a "
            f"denoiser: {WRAP}"
        )
    made = make(device=device or ("cuda" if torch.cuda.is_available() else "cpu")) if "device" in takes else make()
    if not callable(made) or isinstance(made, type):
        what = repr(made) if isinstance(made, (str, type(None))) else f"a {type(made).__name__}"
        raise InputError(f"`model` = {source!r} returned {what}, but must return a denoiser: {WRAP}")
    is_module = isinstance(made, torch.nn.Module) and not isinstance(made, ConvClassifier)
    if is_module and getattr(made, "shape", None) is None:
        raise InputError(
            f"`model` = {source!r} returned a bare network, {type(made).__name__}, which does not say what it was "
            f"trained to output, on which levels and shape. Return a denoiser: {WRAP}"
        )
    return made


def _parameters(make: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a function by name, but those that take whatever comes."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # no function, or one that does not say
        return {}
    return {name: one for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}


def _placed(denoiser: Any, device: str | None) -> tuple[Any, str]:
    """The denoiser on the device asked for, and that device.

    Raises: ValueError if there is no such device, or if the denoiser cannot be moved there.
    """
    import torch

    from seeds.denoisers import facts
    from seeds.modules import check_device, modules, moved

    if device is None:
        movable = callable(getattr(denoiser, "to", None)) or bool(modules(denoiser))
        device = "cuda" if movable and torch.cuda.is_available() else str(facts(denoiser).device)
    check_device(device)
    return moved(denoiser, device), device
