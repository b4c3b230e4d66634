"""A denoiser made faster: its network in 16 bits, in the layout that its device computes fastest in, compiled. The
state stays in float32."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from seeds.denoisers import Derived, Wrapped
from seeds.errors import InputError
from seeds.preconditioners import Preconditioned

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def tuned(denoiser: Any, *, dtype: str | None = None, compiled: bool = False) -> Any:
    """The denoiser with its network changed, in place, where it is: move it to its device first.

    Weights are channels-last where the network is compiled, or computes in 16 bits on CUDA: convolutions are fastest
    so, and the compiler fuses the norms and activations between them. Else the layout stays. What it does to the
    numbers is in docs/numbers.md.

    Args:
        denoiser: of `checkpoints.load`, or of `wrap` around a torch module; guided or bounded too.
        dtype: "bf16" or "fp16", of the network's image path; its embeddings, norm statistics and softmax stay in
            float32, as does all that is outside of it. A module of `wrap` is cast as a whole. None: its own.
        compiled: `torch.compile` builds the network at its first call, and once more at the first other batch size.
    Raises: ValueError if the denoiser is of another kind, and something is asked for.
    """
    if dtype is None and not compiled:
        return denoiser
    if isinstance(denoiser, Derived):
        return replace(denoiser, inner=tuned(denoiser.inner, dtype=dtype, compiled=compiled))
    network = (
        denoiser.model
        if isinstance(denoiser, Preconditioned)
        else denoiser.network
        if isinstance(denoiser, Wrapped)
        else None
    )
    if not isinstance(network, nn.Module):
        what = " and ".join([*([f"`dtype` = {dtype!r}"] if dtype else []), *(["`compile`"] if compiled else [])])
        raise InputError(
            f"{what}: a {type(denoiser).__name__} holds no network that could be changed. Make it so where it is "
            "built, or return what `seeds.wrap` makes of a torch module."
        )
    half = HALVES[dtype] if dtype else None
    if compiled or (half and any(weight.is_cuda for weight in network.parameters())):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(denoiser, Preconditioned):
        denoiser.dtype = half or denoiser.dtype
    elif half:
        denoiser = replace(denoiser, network=network.to(half), dtype=half)
    if compiled:
        network.compile()
    return denoiser
