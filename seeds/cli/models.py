"""What `--model` names: a bundled model, a file, or a function of the user's own."""

import hashlib
import importlib
import importlib.util
import operator
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT = "fashion-unet"


@dataclass(frozen=True)
class Model:
    """A denoiser, what it is called, the SHA-256 of the file it comes from, and the device it is on."""

    denoiser: Any
    name: str
    sha256: str
    device: str


def load_model(source: str, device: str | None = None) -> Model:
    """The model that `source` names: a bundled name, a safetensors file, or module:factory, found from the current folder too.

    Args:
        device: "cpu", "cuda", ...; None is a GPU if there is one and the model can be moved, else where the model is.
    Raises: ValueError if there is no such model or device, or if it is a feature network; CheckpointError (a ValueError) as `checkpoints.load`.
    """
    from seeds import checkpoints
    from seeds.networks.classifier import ConvClassifier

    if not source:
        raise ValueError(f"`model` is empty. Give a file, module:factory, or a bundled name: {', '.join(checkpoints.bundled())}.")
    if re.fullmatch(r"[\w.]+:[\w.]+", source) and not Path(source).exists():
        denoiser, file = _made(source)
    else:
        denoiser, file = checkpoints.load(source), checkpoints.bundled().get(source, Path(source))
    if isinstance(denoiser, ConvClassifier):
        raise ValueError(f"`model` = {source!r} is a feature network and no denoiser: it draws no images, it measures them (--features).")
    denoiser, device = _placed(denoiser, device)
    return Model(denoiser, source, hashlib.sha256(file.read_bytes()).hexdigest(), device)


def check_device(device: str) -> None:
    """Raises: ValueError if there is no such device, or one that holds no numbers (meta)."""
    import torch

    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError
    except (RuntimeError, AssertionError, NotImplementedError):
        have = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
        raise ValueError(f"`device` = {device!r} is not to be had here. There is: {', '.join(have)}.") from None


def _made(source: str) -> tuple[Any, Path]:
    """What module:factory returns, and the module's file."""
    module, _, factory = source.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or not found.origin:
        raise ValueError(f"`model` = {source!r}: there is no module {module}, in the current folder or where Python looks.")
    imported = importlib.import_module(module)
    try:
        make = operator.attrgetter(factory)(imported)
    except AttributeError:
        raise ValueError(f"`model` = {source!r}: {found.origin} has no {factory}.") from None
    return make(), Path(found.origin)


def _placed(denoiser: Any, device: str | None) -> tuple[Any, str]:
    """The denoiser on the device asked for, and that device."""
    import torch

    from seeds.sampling import device_of

    move = getattr(denoiser, "to", None)
    if device is None:
        device = "cuda" if move is not None and torch.cuda.is_available() else str(device_of(denoiser))
    check_device(device)
    if move is not None:
        move(device)
    return denoiser, device
