"""Reading the EDM fixtures in tests/data/edm: cases, weights made by rule, single layers."""

import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).parents[1] / "data" / "edm"
WHOLE = sorted(path.stem for path in ROOT.glob("*.pkl"))
FILLED = sorted(path.stem for path in ROOT.glob("fill_*.npz"))


class Case(NamedTuple):
    """One call of a reference network: what went in and what came out, in float32 (32) and float64 (64)."""

    x: Tensor
    sigma: Tensor
    class_labels: Tensor | None
    augment_labels: Tensor | None
    y32: Tensor
    y64: Tensor
    F32: Tensor
    c_noise32: Tensor


def cases(name: str) -> tuple[dict[str, Any], list[Case]]:
    """The record of a network and its cases; `name` may carry a suffix after two underscores."""
    with np.load(ROOT / f"{name.split('__')[0]}.npz", allow_pickle=False) as arrays:
        meta = json.loads(str(arrays["meta_json"]))
        read = {key: torch.from_numpy(arrays[key]) for key in arrays.files if key != "meta_json"}
    return meta, [Case(*(read.get(f"case{i}_{field}") for field in Case._fields)) for i in range(meta["n_cases"])]


def assert_answers(denoiser: Any, case: Case, tolerance64: float = 1e-10) -> None:
    """The network and its preconditioner answer as the reference did, within the tolerances of the fixtures; told what
    the reference was."""
    scale = case.sigma.reshape(-1, 1, 1, 1).clip(min=1)
    coefficients = denoiser.preconditioner.coefficients(case.sigma.reshape(-1, 1, 1, 1))
    torch.testing.assert_close(coefficients.c_noise.flatten(), case.c_noise32.flatten(), rtol=1e-4, atol=0)
    # its last bits are the processor's
    coefficients = coefficients._replace(c_noise=case.c_noise32.reshape(coefficients.c_noise.shape))
    raw = denoiser.model(
        coefficients.c_in * case.x, coefficients.c_noise.flatten(), case.class_labels, case.augment_labels
    )
    assert (raw - case.F32).abs().max() < 3e-5
    denoiser.dtype = None
    assert (
        (denoiser.denoise(case.x, case.sigma, case.class_labels, case.augment_labels) - case.y32) / scale
    ).abs().max() < 2e-5
    denoiser.dtype = torch.float64
    exact = denoiser.denoise(case.x.double(), case.sigma, case.class_labels, case.augment_labels)
    assert ((exact - case.y64) / scale).abs().max() < tolerance64


def filled(state: list[tuple[str, list[int]]], keep: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that follow the fixtures' rule: a generator for each name; filters and tables are kept."""
    tensors = {}
    for name, shape in state:
        v = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        if name.endswith(".freqs"):
            v = 16 * v
        elif len(shape) == 1:
            v = 1 + 0.1 * v if name.endswith(".weight") else 0.1 * v
        else:
            v = v / np.sqrt(np.prod(shape[1:]))
        tensors[name] = (
            keep[name] if name == "u" or name.endswith("resample_filter") else torch.from_numpy(v.astype(np.float32))
        )
    return tensors
