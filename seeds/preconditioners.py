"""Preconditioners VP, VE, iDDPM and EDM (Karras et al. 2022, arXiv:2206.00364, Table 1): noise levels and scalings
around a network.

At noise level sigma (our `nsr` = sigma / alpha) and rescaled state y = x / alpha = data + sigma eps, the clean data is
estimated as

    D = c_skip y + c_out F(c_in y, c_noise)

Coefficients are evaluated in the dtype of sigma, operation by operation in the order written here: in float32 that
reproduces the rounding
that the published networks were trained and judged with. Each formula is written once and has two arithmetics
(`arithmetic`):

- of NumPy arrays, on the host, for one level a call: + - * / sqrt as IEEE 754 rounds them, log, exp and sin in float64
  rounded once. Every processor tells the network the same number. Sampling uses this one.
- of torch tensors, on any device, for a level per image (`Preconditioned.denoise`, training): torch's own, whose last
bits depend on the processor.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from seeds import schedules
from seeds.errors import InputError
from seeds.plans import Point

Sigma = TypeVar("Sigma", np.ndarray, Tensor)
"""Noise levels as an array of at least one dimension (NumPy's scalars take other paths), or as a tensor of any shape;
float32 or float64."""


class Host:
    """NumPy's arithmetic for arrays, the same on every processor: IEEE's operations as they are, the others in float64,
    rounded once."""

    ones_like, sqrt, abs = staticmethod(np.ones_like), staticmethod(np.sqrt), staticmethod(np.abs)

    @staticmethod
    def log(x: np.ndarray) -> np.ndarray:
        return np.log(x, dtype=np.float64).astype(x.dtype)

    @staticmethod
    def exp(x: np.ndarray) -> np.ndarray:
        return np.exp(x, dtype=np.float64).astype(x.dtype)

    @staticmethod
    def sin(x: np.ndarray) -> np.ndarray:
        return np.sin(x, dtype=np.float64).astype(x.dtype)


def arithmetic(values: Any) -> Any:
    """`Host` for NumPy arrays, torch for tensors."""
    return torch if isinstance(values, Tensor) else Host


class Coefficients(NamedTuple):
    """D = c_skip y + c_out F(c_in y, c_noise); each has the shape and the type of sigma."""

    c_skip: Any
    c_out: Any
    c_in: Any
    c_noise: Any


class Preconditioner(Protocol):
    """Noise levels and scalings of one family; sigma is positive."""

    @property
    def sigma_min(self) -> float: ...
    @property
    def sigma_max(self) -> float: ...
    def coefficients(self, sigma: Sigma) -> Coefficients: ...
    def round_sigma(self, sigma: Sigma) -> Sigma: ...


def coefficients_of(
    preconditioner: Preconditioner, sigma: float, dtype: torch.dtype
) -> tuple[float, float, float, float]:
    """(c_skip, c_out, c_in, c_noise) of one level, in float32 or float64 arithmetic on the host: the same numbers on
    every machine."""
    level = np.array([sigma], np.float64 if dtype == torch.float64 else np.float32)
    c_skip, c_out, c_in, c_noise = (float(value[0]) for value in preconditioner.coefficients(level))
    return c_skip, c_out, c_in, c_noise


@dataclass(frozen=True)
class VPNoise:
    """Variance preserving: sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1), t in [epsilon_t, 1]; the network is
    told (M - 1) t."""

    beta_d: float = 19.9
    beta_min: float = 0.1
    M: int = 1000
    epsilon_t: float = 1e-5

    @property
    def sigma_min(self) -> float:
        """sigma(epsilon_t) in float32: 2^-10 for the defaults, where 0.0010000 is exact. The published range has this
        rounding."""
        return float(self.sigma(np.array([self.epsilon_t], np.float32))[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigma(np.ones(1, np.float32))[0])

    def sigma(self, t: Sigma) -> Sigma:
        m = arithmetic(t)
        return m.sqrt(m.exp(0.5 * self.beta_d * (t * t) + self.beta_min * t) - 1)

    def sigma_inv(self, sigma: Sigma) -> Sigma:
        """t of sigma. Uses log(1 + sigma^2), not log1p: the networks saw its float32 rounding (1.3 % at sigma =
        0.002)."""
        m = arithmetic(sigma)
        return (m.sqrt(self.beta_min**2 + 2 * self.beta_d * m.log(1 + sigma * sigma)) - self.beta_min) / self.beta_d

    def coefficients(self, sigma: Sigma) -> Coefficients:
        m = arithmetic(sigma)
        return Coefficients(
            m.ones_like(sigma), -sigma, 1 / m.sqrt(sigma * sigma + 1), (self.M - 1) * self.sigma_inv(sigma)
        )

    def round_sigma(self, sigma: Sigma) -> Sigma:
        return sigma


@dataclass(frozen=True)
class VENoise:
    """Variance exploding: c_skip = c_in = 1, c_out = sigma, c_noise = log(sigma / 2)."""

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    def coefficients(self, sigma: Sigma) -> Coefficients:
        m = arithmetic(sigma)
        return Coefficients(m.ones_like(sigma), sigma, m.ones_like(sigma), m.log(0.5 * sigma))

    def round_sigma(self, sigma: Sigma) -> Sigma:
        return sigma


@dataclass(frozen=True, eq=False)
class iDDPM:
    """Discrete cosine levels of improved DDPM: table u of M + 1 levels, falling to u_M = 0; the network is told M - 1 -
    index(sigma).

        u_{j-1} = sqrt((u_j^2 + 1) / max(abar(j-1) / abar(j), C_1) - 1),  abar(j) = sin(pi j / (2 M (C_2 + 1)))^2

    A sigma between two levels is told as the nearest one; c_skip, c_out and c_in are those of sigma itself.
    `u` (float32, CPU) is computed in float32, on every processor alike, unless a checkpoint's own table is given.
    """

    C_1: float = 0.001
    C_2: float = 0.008
    M: int = 1000
    u: Tensor = field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.u is None:
            object.__setattr__(self, "u", self._levels())
        if self.u.shape != (self.M + 1,):
            raise InputError(
                f"`u` has shape {tuple(self.u.shape)}; a table for M = {self.M} has M + 1 = {self.M + 1} levels."
            )

    def _levels(self) -> Tensor:
        j = np.arange(self.M + 1, dtype=np.float32)
        sine = Host.sin(0.5 * np.pi * j / self.M / (self.C_2 + 1))
        abar = sine * sine
        ratio = np.maximum(abar[:-1] / abar[1:], np.float32(self.C_1))
        u = np.zeros(self.M + 1, np.float32)
        for i in range(self.M, 0, -1):
            u[i - 1 : i] = np.sqrt((u[i : i + 1] * u[i : i + 1] + 1) / ratio[i - 1] - 1)
        return torch.from_numpy(u)

    @property
    def sigma_min(self) -> float:
        return float(self.u[self.M - 1])

    @property
    def sigma_max(self) -> float:
        return float(self.u[0])

    def index(self, sigma: Sigma) -> Sigma:
        """Position of the level nearest to sigma, u_M = 0 included; distances in float32."""
        if isinstance(sigma, Tensor):
            return (sigma.to(torch.float32)[..., None] - self.u.to(sigma.device)).abs().argmin(dim=-1)
        return np.abs(sigma.astype(np.float32)[..., None] - self.u.numpy()).argmin(axis=-1)

    def coefficients(self, sigma: Sigma) -> Coefficients:
        m, c_noise = arithmetic(sigma), self.M - 1 - self.index(sigma)
        c_noise = c_noise.to(sigma.dtype) if isinstance(sigma, Tensor) else c_noise.astype(sigma.dtype)
        return Coefficients(m.ones_like(sigma), -sigma, 1 / m.sqrt(sigma * sigma + 1), c_noise)

    def round_sigma(self, sigma: Sigma) -> Sigma:
        if isinstance(sigma, Tensor):
            return self.u.to(sigma.device)[self.index(sigma)].to(sigma.dtype)
        return self.u.numpy()[self.index(sigma)].astype(sigma.dtype)

    def round_nsr(self, nsr: np.ndarray) -> np.ndarray:
        """Nearest level that the network was trained at, so never u_M = 0: float64 array to float64 array."""
        levels = self.u[:-1].double().numpy()
        return levels[np.abs(np.asarray(nsr, np.float64)[..., None] - levels).argmin(axis=-1)]


@dataclass(frozen=True)
class EDMNoise:
    """Karras et al.'s own: F has unit variance in and out on data of standard deviation sigma_data; c_noise =
    log(sigma) / 4."""

    sigma_min: float = 0.0
    sigma_max: float = math.inf
    sigma_data: float = 0.5

    def coefficients(self, sigma: Sigma) -> Coefficients:
        m = arithmetic(sigma)
        total = sigma * sigma + self.sigma_data**2
        norm = m.sqrt(total)
        return Coefficients(self.sigma_data**2 / total, sigma * self.sigma_data / norm, 1 / norm, m.log(sigma) / 4)

    def round_sigma(self, sigma: Sigma) -> Sigma:
        return sigma


class Preconditioned(nn.Module):
    """A network with its preconditioner: a denoiser D(x, at, labels=None) for the state x = alpha data + sigma eps of
    any schedule.

    Args:
        model: called as model(image, noise_labels, class_labels, augment_labels) -> F, with at least shape[0] output
            channels.
        preconditioner: VP, VE, iDDPM or EDM.
        shape: of one image, (channels, height, width).
        classes: number of classes; 0 = unconditional.
        dtype: of the image path inside the network. float16 and bfloat16 keep embeddings, norm statistics, softmax and
            all that is out here in float32; float64 evaluates everything in float64. None: float16 on a CUDA device if
            `use_fp16`, else float32.
        nsr_range: noise levels the network was trained on, the preconditioner's own by default; None where it has no
            bounds.
        schedule: default schedule for sampling; None: the variance-exploding EDM one, sigma = t, alpha = 1.
        data_range, null: range of the data's values, and the label that means none, if not leaving labels out; see
            `seeds.denoisers.Facts`.

    The front door reads the attributes of `seeds.denoisers.Facts`; `decode` and `encode` may be set on the instance.
    The network itself is `model`: `denoiser.model.compile(fullgraph=True)` compiles it,
    `denoiser.to(memory_format=torch.channels_last)` changes its layout.
    """

    def __init__(
        self,
        model: nn.Module,
        preconditioner: Preconditioner,
        shape: tuple[int, ...],
        *,
        classes: int = 0,
        dtype: torch.dtype | None = None,
        use_fp16: bool = False,
        nsr_range: tuple[float, float] | None = None,
        schedule: schedules.Schedule | None = None,
        name: str = "",
        data_range: tuple[float, float] = (-1.0, 1.0),
        null: Any = None,
    ):
        super().__init__()
        self.preconditioner, self.shape, self.classes = preconditioner, tuple(shape), classes
        self.dtype, self.use_fp16, self.name = dtype, use_fp16, name
        self.data_range, self.null, self.decode_batch = data_range, null, 16
        self.decode: Any = None  # not of the class: a module set here is then found, moved and saved as one
        self.encode: Any = None
        self.config: Any = None  # what it was built from; set by checkpoints.build, asked by checkpoints.save
        low, high = nsr_range or (preconditioner.sigma_min, preconditioner.sigma_max)
        if not 0 <= low < high:
            raise InputError(f"`nsr_range` = ({low}, {high}) must rise, from 0 or more: lowest noise level first.")
        self.nsr_range = None if low == 0 and high == math.inf else (float(low), float(high))
        self.round_nsr = getattr(preconditioner, "round_nsr", None)
        self.schedule = schedule or schedules.EDM()
        if isinstance(preconditioner, iDDPM):
            self.register_buffer("u", preconditioner.u.clone())
        self.model = model

    def forward(
        self, x: Tensor, at: Point, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """Estimate of the clean data, in the shape and dtype of x.

        Args:
            x: (B, *shape), the state alpha data + sigma eps.
            at: the point it is at. The network is asked about y = x / alpha at nsr = sigma / alpha.
            labels: class indices (B,), -1 = no class; or rows (B, classes), one-hot or soft; None = no class.
            augment_labels: (B or 1, augment_dim) for networks trained with augmentation; None = not augmented.

        Raises: ValueError at alpha = 0 or sigma = 0, for x of another shape, for labels that do not fit.
        """
        if not 0 < at.nsr < math.inf:
            raise InputError(
                f"`at` has alpha = {at.alpha:g}, sigma = {at.sigma:g}, where this network cannot be asked: it was "
                f"trained at noise levels above 0 and below infinity, nsr_range = {self.nsr_range}. Start at a point "
                "with alpha > 0 and end at one with sigma > 0."
            )
        c_skip, c_out, c_in, c_noise = coefficients_of(self.preconditioner, at.nsr, self._work)
        told = torch.full((1,), c_noise, dtype=self._work, device=x.device)
        return self._estimate(x, c_skip / at.alpha, c_out, c_in / at.alpha, told, labels, augment_labels)

    def denoise(
        self, y: Tensor, sigma: Any, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """The same in EDM's own terms, for training: y = data + sigma eps (B, *shape), one sigma or one per image (B,),
        on any device."""
        sigma = torch.as_tensor(sigma, dtype=self._work).to(y.device).reshape(-1, *[1] * len(self.shape))
        c_skip, c_out, c_in, c_noise = self.preconditioner.coefficients(sigma)
        return self._estimate(y, c_skip, c_out, c_in, c_noise.flatten(), labels, augment_labels)

    @property
    def _work(self) -> torch.dtype:
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def _estimate(
        self, x: Tensor, c_skip: Any, c_out: Any, c_in: Any, told: Tensor, labels: Tensor | None, augment: Tensor | None
    ) -> Tensor:
        if x.shape[1:] != self.shape:
            raise InputError(
                f"`x` has shape {tuple(x.shape)}; this network takes (batch, {', '.join(map(str, self.shape))})."
            )
        state = x.to(self._work)
        image_dtype = self.dtype or (torch.float16 if self.use_fp16 and x.is_cuda else torch.float32)
        rows = None if labels is None else self._rows(labels, len(x), x.device)
        raw = self.model(
            (c_in * state).to(image_dtype), told, rows, None if augment is None else augment.to(x.device, self._work)
        )
        return (c_skip * state + c_out * raw[:, : self.shape[0]].to(self._work)).to(x.dtype)

    def _rows(self, labels: Tensor, batch: int, device: torch.device) -> Tensor:
        if not self.classes:
            raise InputError("`labels` were given, but this model has no classes. Call it without labels.")
        if labels.ndim == 2 and labels.shape[1] == self.classes and len(labels) in (1, batch):
            return labels.to(device, self._work)
        if labels.shape != (batch,) or labels.is_floating_point():
            raise InputError(
                f"`labels` has shape {tuple(labels.shape)} and dtype {labels.dtype}; give {batch} class indices, or "
                f"rows ({batch}, {self.classes})."
            )
        if labels.device.type == "cpu" and not bool(((labels >= -1) & (labels < self.classes)).all()):
            raise InputError(
                f"`labels` holds {labels.min()} to {labels.max()}; class indices are 0 to {self.classes - 1}, and -1 "
                "for no class."
            )
        return (labels.to(device)[:, None] == torch.arange(self.classes, device=device)).to(self._work)
