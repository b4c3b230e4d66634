r"""Data laws whose denoiser, density and samples are known in closed form: Gaussians, Gaussian mixtures, finite data
sets.

They are the oracles of the tests and, fitted to images, a bundled model: error measured on them is the solver's alone.
All are mixtures, data ~ sum_k w_k N(mu_k, C_k), seen through x = alpha data + sigma eps, so that x given k is N(alpha
mu_k, alpha^2 C_k + sigma^2 I) and

    D(x) = E[data | x] = sum_k P(k | x) (mu_k + alpha C_k (alpha^2 C_k + sigma^2 I)^-1 (x - alpha mu_k)).

C_k is diagonalised once, when the law is built, so that each noise level costs a few matrix products and no
factorisation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seeds.errors import InputError
from seeds.noise import LABELS, gaussian
from seeds.plans import CLEAN, Point
from seeds.schedules import EDM, Schedule

LOG_2PI = math.log(2 * math.pi)
MOST_CELLS = 1 << 26
"""Classes times components of a stored mixture, at most: a call makes a table of that size, which a small file must not
make large."""


class _Factors(NamedTuple):
    r"""Components with C_k = U_k diag(s_k) U_k^T + psi_k I, the rows of U_k^T orthonormal; rank r may be 0.

    With c = x - alpha mu, p = U^T c, v = alpha^2 psi + sigma^2 across the factors and v_j = v + alpha^2 s_j along them:

        c^T (alpha^2 C + sigma^2 I)^-1 c = |c|^2 / v - sum_j p_j^2 alpha^2 s_j / (v v_j)
        E[data | x, k]                   = mu sigma^2 / v + x alpha psi / v + alpha sum_j (s_j / v_j) (sigma^2 / v) p_j
                                         U_j

    No coefficient is a difference, so none loses digits at either end of the noise range.
    """

    mean: Tensor  # (K, d)
    psi: Tensor  # (K,)
    s: Tensor  # (K, r)
    basis: Tensor  # (K r, d): the rows of all U_k^T
    centre: Tensor  # (d,): taken off x before it is projected, which keeps digits
    offset: Tensor  # (K, r) = U_k^T (mu_k - centre)

    @classmethod
    def build(cls, mean: Tensor, std: Tensor, factors: Tensor) -> _Factors:
        """From x = mu_k + factors_k^T z + std_k eps, float64: (K, d), (K,), (K, r, d)."""
        frame, small = torch.linalg.qr(factors.mT)  # leaves r x r matrices to take apart, not d x r
        left, singular, _ = torch.linalg.svd(small)
        s, rows = singular.square(), (frame @ left).mT
        centre = mean.mean(0)
        return cls(
            mean,
            std.square(),
            s,
            rows.reshape(-1, mean.shape[1]),
            centre,
            torch.einsum("krd,kd->kr", rows, mean - centre),
        )

    def project(self, x: Tensor, alpha: float) -> Tensor:
        return torch.addmm(-alpha * self.offset.flatten(), x - alpha * self.centre, self.basis.T).unflatten(
            1, self.s.shape
        )

    def log_likelihood(self, x: Tensor, p: Tensor, alpha: float, sigma: float) -> Tensor:
        """(B, K): log density of x under each component."""
        (d, r), v = (self.mean.shape[1], self.s.shape[1]), alpha**2 * self.psi + sigma**2
        along = v[:, None] + alpha**2 * self.s
        square = torch.cdist(x, alpha * self.mean, compute_mode="donot_use_mm_for_euclid_dist").square() / v
        square = square - (p.square() * (self.s * (alpha**2 / v)[:, None] / along)).sum(-1)
        return -0.5 * (square + ((d - r) * v.log() + along.log().sum(-1) + d * LOG_2PI))

    def blend(self, x: Tensor, p: Tensor, share: Tensor, alpha: float, sigma: float) -> Tensor:
        """(B, d): the component's posterior means, weighed by `share` (B, K)."""
        v = alpha**2 * self.psi + sigma**2
        pull = sigma**2 / v
        gain = alpha * pull[:, None] * self.s / (v[:, None] + alpha**2 * self.s)
        inside = (share[..., None] * (gain * p)).flatten(1)
        return (share * pull) @ self.mean + (share @ (alpha * self.psi / v))[:, None] * x + inside @ self.basis

    def sample(self, k: int, z: Tensor) -> Tensor:
        """Component k from standard normals z (n, r + d)."""
        K, r = self.s.shape
        return (
            self.mean[k]
            + self.psi[k].sqrt() * z[:, r:]
            + (self.s[k].sqrt() * z[:, :r]) @ self.basis.unflatten(0, (K, r))[k]
        )

    def of(self, own: Tensor) -> _Factors:
        """These components only."""
        rows = self.basis.unflatten(0, self.s.shape)[own].flatten(0, 1)
        return self._replace(mean=self.mean[own], psi=self.psi[own], s=self.s[own], basis=rows, offset=self.offset[own])

    @property
    def normals(self) -> int:
        return self.s.shape[1] + self.mean.shape[1]


class _Axes(NamedTuple):
    """Components with C_k = R_k diag(variance_k) R_k^T: any covariance, R orthogonal, or a diagonal one, R = I and left
    out."""

    mean: Tensor  # (K, d)
    variance: Tensor  # (K, d)
    rotation: Tensor | None = None  # (K, d, d): columns are axes

    @classmethod
    def build(cls, mean: Tensor, covariance: Tensor) -> _Axes:
        """From covariances (K, d, d), float64."""
        symmetric = (covariance - covariance.mT).abs().amax() <= 1e-6 * covariance.abs().amax()
        variance, rotation = torch.linalg.eigh((covariance + covariance.mT) / 2)
        if not symmetric or (variance < -1e-12 * variance.amax(-1, keepdim=True)).any():
            raise InputError("`covariance` must be symmetric and have no negative eigenvalue, for every component.")
        return cls(mean, variance.clamp_min(0), rotation)

    def project(self, x: Tensor, alpha: float) -> Tensor:
        c = x[:, None] - alpha * self.mean
        return c if self.rotation is None else torch.einsum("bkd,kdr->bkr", c, self.rotation)

    def log_likelihood(self, x: Tensor, p: Tensor, alpha: float, sigma: float) -> Tensor:
        v = alpha**2 * self.variance + sigma**2
        return -0.5 * ((p.square() / v).sum(-1) + (v.log() + LOG_2PI).sum(-1))

    def blend(self, x: Tensor, p: Tensor, share: Tensor, alpha: float, sigma: float) -> Tensor:
        inside = share[..., None] * (alpha * self.variance / (alpha**2 * self.variance + sigma**2)) * p
        moved = inside.sum(1) if self.rotation is None else torch.einsum("bkr,kdr->bd", inside, self.rotation)
        return share @ self.mean + moved

    def sample(self, k: int, z: Tensor) -> Tensor:
        z = self.variance[k].sqrt() * z
        return self.mean[k] + (z if self.rotation is None else z @ self.rotation[k].T)

    def of(self, own: Tensor) -> _Axes:
        """These components only."""
        rotation = None if self.rotation is None else self.rotation[own]
        return _Axes(self.mean[own], self.variance[own], rotation)

    @property
    def normals(self) -> int:
        return self.mean.shape[1]


class GaussianMixture:
    r"""data ~ sum_k w_k N(mu_k, C_k): exact denoiser, density and samples, with or without classes.

    One of four spreads, the cheapest that says it:

        std a number or (K,)                          C_k = std_k^2 I
        std (K, *shape)                               C_k diagonal
        factors (K, r, *shape), std a number or (K,)  C_k = W_k W_k^T + std_k^2 I, the rows of `factors` being the
        columns of W_k
        covariance (K, d, d), d = prod(shape)         any C_k

    The law is held in float64 on the CPU. A call computes in float64 if `x` is float64 and in float32 otherwise, on the
    device of `x`; it reads no tensor value on the host, so nothing in it waits for a device.

    Args:
        mean: (K, *shape). The shape of one datum is read from here; `mean` of shape (K,) makes scalar data, x of shape
            (B,).
        std, factors, covariance: as above.
        weights: (K,), positive, default equal; scaled to sum to 1.
        component_class: (K,) integers, the class that each component belongs to; left out, the law has no classes.
        schedule: read by the front door when the caller names none; default EDM().
        name: for messages and records.
    Raises: ValueError naming the argument whose shape or value is wrong.
    """

    nsr_range = None  # exact at every noise level
    round_nsr = None
    data_range = (-1.0, 1.0)  # as `seeds.denoisers.Facts` has it, like what follows; set another on a law of other data
    decode = encode = null = None
    decode_batch = 16

    def __init__(
        self,
        mean: Any,
        std: Any = None,
        *,
        weights: Any = None,
        factors: Any = None,
        covariance: Any = None,
        component_class: Any = None,
        schedule: Schedule | None = None,
        name: str = "mixture",
    ) -> None:
        centres = _array("mean", mean)
        if centres.ndim < 1 or not len(centres):
            raise InputError(
                "`mean` must have shape (K, *shape), K >= 1 components first. For one component use Gaussian, or "
                "mean[None]."
            )
        K, self.shape = len(centres), tuple(centres.shape[1:])
        self.name, self.schedule = name, EDM() if schedule is None else schedule
        self._law = _spread(centres, std, factors, covariance)
        self._is_flat = not bool((self._law.psi if isinstance(self._law, _Factors) else self._law.variance).all())
        weight = torch.full((K,), 1.0, dtype=torch.float64) if weights is None else _array("weights", weights)
        if weight.shape != (K,) or not bool((weight > 0).all()):
            raise InputError(
                f"`weights` must be {K} positive numbers, one for each component; got shape {tuple(weight.shape)}."
            )
        self.weights = weight / weight.sum()
        self.component_class = None if component_class is None else _classes(component_class, K)
        self.classes = 0 if self.component_class is None else int(self.component_class.max()) + 1
        self._cast: dict[tuple[torch.dtype, torch.device], tuple[_Factors | _Axes, Tensor, Tensor]] = {}
        self._classes: dict[tuple[torch.dtype, int], tuple[_Factors | _Axes, Tensor]] = {}

    def __call__(self, x: Tensor, at: Point, labels: Tensor | None = None) -> Tensor:
        """D(x) = E[data | x], shape and dtype of `x`.

        Args:
            x: (B, *shape), the state alpha data + sigma eps at the Point `at`. At alpha = 0 the answer is the mean of
                the data.
            labels: None for the whole law, (B,) integers for one class each, or (B, classes) weights >= 0 with a
                positive sum.
        Raises: ValueError for a wrong shape, labels the law has not, or sigma = 0 where a component has no spread in
            some direction.
        """
        flat, law, prior = self._prepare(x, at, labels)
        if labels is not None and not labels.is_floating_point() and x.device.type == labels.device.type == "cpu":
            found = self._by_class(flat, at, labels)
        else:
            found = _posterior_mean(flat, law, prior, at)
        return found.reshape(x.shape).to(x.dtype)

    def _by_class(self, flat: Tensor, at: Point, labels: Tensor) -> Tensor:
        """(B, d), each state asked of the components of its class alone, where its class can be read without waiting
        for a device."""
        order = labels.argsort(stable=True)
        parts = flat[order].split(labels.bincount(minlength=self.classes).tolist())
        found = [_posterior_mean(part, *self._class(flat.dtype, k), at) for k, part in enumerate(parts) if len(part)]
        return torch.cat(found)[order.argsort()] if found else flat

    def log_joint(self, x: Tensor, at: Point, labels: Tensor | None = None) -> Tensor:
        """log(w_k p(x | k)), shape (B, K): its softmax is P(k | x), the component that the state at `x` came from."""
        flat, law, prior = self._prepare(x, at, labels)
        return (prior + law.log_likelihood(flat, law.project(flat, at.alpha), at.alpha, at.sigma)).to(x.dtype)

    def log_density(self, x: Tensor, at: Point = CLEAN, labels: Tensor | None = None) -> Tensor:
        """Log density (B,) in nats at `x`, of the data or, with another Point `at`, of the state alpha data + sigma
        eps.

        Pass float64: float32 loses up to a nat where a component is thin against its size (784 pixels, std 0.02).
        """
        return torch.logsumexp(self.log_joint(x, at, labels), -1)

    def sample(
        self, seed: int | Iterable[int], labels: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Exact draws from the data law, (len(seed), *shape), on the CPU; draw b depends on (seed[b], labels[b]) only.

        The numbers come from draw 1 of the labels' stream, which no solver reads: a draw is independent of the noise of
        its own seed.

        Args:
            seed: an integer in [0, 2^64) for one draw, or several.
            labels: as in a call; its length is that of `seed`.
        """
        z = gaussian(seed, 1, (1 + self._law.normals,), LABELS).double()
        prior = (
            self._log_prior(labels, len(z), self._params(torch.float64, torch.device("cpu"))).exp().expand(len(z), -1)
        )
        level = torch.special.ndtr(z[:, :1]) * prior.sum(-1, keepdim=True)  # uniform below the total
        which = (prior.cumsum(-1) <= level).sum(-1).clamp_max(len(self.weights) - 1)
        data = z.new_empty(len(z), self._law.mean.shape[1])
        for k in which.unique().tolist():
            data[which == k] = self._law.sample(k, z[which == k, 1:])
        return data.reshape(len(z), *self.shape).to(dtype)

    def to_tensors(self, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
        """The law as tensors to store: `mean` and `factors` in `dtype`, the rest exact. Rounded numbers define the law
        that loads."""
        if not isinstance(self._law, _Factors):
            raise InputError(
                "Only a law with `factors` or one std for each component can be stored; this one has full or diagonal "
                "spread."
            )
        K, r = self._law.s.shape
        factors = (
            self._law.s.sqrt()[..., None] * self._law.basis.unflatten(0, (K, r))
            if r
            else self._law.basis.new_empty(K, 0, 0)
        )
        tensors = {
            "mean": self._law.mean.reshape(K, *self.shape).to(dtype),
            "factors": factors.reshape(K, r, *self.shape).to(dtype),
            "std": self._law.psi.sqrt(),
            "weights": self.weights,
        }
        return tensors if self.component_class is None else {**tensors, "component_class": self.component_class}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> GaussianMixture:
        """The law of `to_tensors`; `metadata` has kind = "mixture" and name. Raises ValueError if a part is missing."""
        if metadata.get("kind") != "mixture":
            raise InputError(
                "`metadata` must have kind = 'mixture' to be read as a Gaussian mixture; it has "
                f"{metadata.get('kind')!r}."
            )
        missing = {"mean", "factors", "std", "weights"} - set(tensors)
        if missing:
            raise InputError(
                f"`tensors` lacks {', '.join(sorted(missing))}: the file is not a whole mixture. Fetch or make it "
                "again."
            )
        law = cls(
            tensors["mean"],
            tensors["std"],
            factors=tensors["factors"],
            weights=tensors["weights"],
            component_class=tensors.get("component_class"),
            name=metadata.get("name", "mixture"),
        )
        if law.classes * len(law.weights) > MOST_CELLS:
            raise InputError(
                f"`component_class` has {law.classes:,} classes for {len(law.weights):,} components: the table of "
                "their weights would not fit in memory."
            )
        return law

    def _prepare(self, x: Tensor, at: Point, labels: Tensor | None) -> tuple[Tensor, _Factors | _Axes, Tensor]:
        if tuple(x.shape[1:]) != self.shape or x.ndim != 1 + len(self.shape):
            wanted = str(("B", *self.shape)).replace("'", "")
            raise InputError(f"`x` must have shape {wanted} for {self.name!r}; got {tuple(x.shape)}.")
        if at.sigma == 0 and self._is_flat:
            raise InputError(
                f"At sigma = 0 {self.name!r} has no density: a component has no spread in some direction. Ask at sigma "
                "> 0."
            )
        params = self._params(torch.float64 if x.dtype == torch.float64 else torch.float32, x.device)
        flat = x.reshape(len(x), -1).to(params[2].dtype)
        return flat, params[0], self._log_prior(labels, len(x), params)

    def _log_prior(self, labels: Tensor | None, batch: int, params: tuple[Any, Tensor, Tensor]) -> Tensor:
        """Log weights of the components, (1, K) or (B, K); -inf for the classes not asked for."""
        _, table, whole = params
        if labels is None:
            return whole[None]
        if not self.classes:
            raise InputError(f"{self.name!r} has no classes: leave `labels` out, or build it with `component_class`.")
        if labels.is_floating_point() and labels.shape == (batch, self.classes):
            return ((labels / labels.sum(-1, keepdim=True)).to(table) @ table).log()
        if not labels.is_floating_point() and labels.shape == (batch,):
            return self._rows(table, labels)
        found = f"{tuple(labels.shape)}, {labels.dtype}"
        raise InputError(
            f"`labels` must be ({batch},) integers or ({batch}, {self.classes}) floating weights; got {found}."
        )

    def _rows(self, table: Tensor, labels: Tensor) -> Tensor:
        try:
            return table.index_select(0, labels.to(table.device)).log()
        except IndexError as error:  # where torch looks for it: on the CPU
            raise InputError(
                f"`labels` of {self.name!r} are from 0 to {self.classes - 1}; got {labels.tolist()}."
            ) from error

    def _params(self, dtype: torch.dtype, device: torch.device) -> tuple[_Factors | _Axes, Tensor, Tensor]:
        """The law, the weights within each class (classes, K) and the log weights (K,), where and in what the call
        computes."""
        if (dtype, device) not in self._cast:
            table = torch.zeros(self.classes, len(self.weights), dtype=torch.float64)
            if self.component_class is not None:
                table[self.component_class, torch.arange(len(self.weights))] = self.weights
                table /= table.sum(-1, keepdim=True)
            parts = {name: _move(part, dtype, device) for name, part in self._law._asdict().items() if part is not None}
            law = self._law._replace(**parts)
            self._cast[dtype, device] = (law, _move(table, dtype, device), _move(self.weights.log(), dtype, device))
        return self._cast[dtype, device]

    def _class(self, dtype: torch.dtype, k: int) -> tuple[_Factors | _Axes, Tensor]:
        """The law of a class and its log weights (1, its components), on the CPU."""
        if (dtype, k) not in self._classes:
            law, table, _ = self._params(dtype, torch.device("cpu"))
            own = torch.nonzero(table[k]).flatten()
            self._classes[dtype, k] = (law.of(own), table[k, own].log()[None])
        return self._classes[dtype, k]


def _posterior_mean(flat: Tensor, law: _Factors | _Axes, prior: Tensor, at: Point) -> Tensor:
    """(B, d) E[data | x] of the law with these log weights, (1, K) or (B, K)."""
    p = law.project(flat, at.alpha)
    share = torch.softmax(prior + law.log_likelihood(flat, p, at.alpha, at.sigma), -1)
    share = torch.nn.functional.threshold(share, 1e-30, 0.0)  # denormal numbers would slow the products sixfold
    return law.blend(flat, p, share, at.alpha, at.sigma)


class Gaussian(GaussianMixture):
    """data ~ N(mean, std^2) or N(mean, covariance): the linear denoiser.

    Args:
        mean: (*shape), or a number for every entry of `shape`.
        std: a number or (*shape).
        covariance: (d, d) in place of `std`.
        shape: of one datum, needed when `mean` is a number and data is not; default the shape of `mean`.
    """

    def __init__(
        self,
        mean: Any = 0.0,
        std: Any = None,
        *,
        covariance: Any = None,
        shape: Sequence[int] | None = None,
        schedule: Schedule | None = None,
        name: str = "gaussian",
    ) -> None:
        centre = _array("mean", mean)
        centre = centre.expand(tuple(shape)) if shape is not None else centre
        spread = None if std is None else _array("std", std)
        full = None if covariance is None else _array("covariance", covariance)[None]
        if spread is not None and spread.ndim:
            spread = spread[None]
        super().__init__(centre[None], spread, covariance=full, schedule=schedule, name=name)


class Empirical(GaussianMixture):
    """The law that draws one of the given data, each as likely: what a network that fits its training set perfectly
    learns.

    Args:
        data: (N, *shape). A call takes 2 N d multiplications for each state and holds (B, N) numbers.
        labels: (N,) integers, the class of each datum.
    """

    def __init__(
        self, data: Any, labels: Any = None, *, schedule: Schedule | None = None, name: str = "empirical"
    ) -> None:
        super().__init__(data, 0.0, component_class=labels, schedule=schedule, name=name)


def _move(tensor: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Rounded first, moved then: some devices hold no float64."""
    return tensor.to(dtype).to(device)


def _array(name: str, value: Any) -> Tensor:
    tensor = value.detach().cpu().double() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"`{name}` holds a NaN or an infinity.")
    return tensor


def _classes(value: Any, K: int) -> Tensor:
    classes = torch.as_tensor(value).cpu()
    got = f"{classes.dtype}, {tuple(classes.shape)}"
    if not classes.is_floating_point() and not classes.is_complex() and classes.shape == (K,):
        used = classes.long().unique()  # at most K, rising: nothing of the size of a number in a file is made
        if torch.equal(used, torch.arange(len(used))):
            return classes.long()
        got = f"{len(used)} different ones, from {used[0]} to {used[-1]}"
    raise InputError(f"`component_class` must be {K} integers that use every class from 0 up; got {got}.")


def _spread(mean: Tensor, std: Any, factors: Any, covariance: Any) -> _Factors | _Axes:
    """The components in the form that their arguments ask for."""
    if (std is None) == (covariance is None) or (factors is not None and std is None):
        raise InputError("Give `std`, or `std` and `factors`, or `covariance` alone.")
    K, shape, flat = len(mean), mean.shape[1:], mean.reshape(len(mean), -1)
    d = flat.shape[1]
    if covariance is not None:
        full = _array("covariance", covariance)
        if full.shape != (K, d, d):
            raise InputError(f"`covariance` must have shape {(K, d, d)}; got {tuple(full.shape)}.")
        return _Axes.build(flat, full)
    spread = _array("std", std)
    if not bool((spread >= 0).all()) or spread.shape not in ((), (K,), mean.shape):
        raise InputError(
            f"`std` must be >= 0 and a number, ({K},) or {tuple(mean.shape)}; got shape {tuple(spread.shape)}."
        )
    if spread.ndim > 1:
        if factors is not None:
            raise InputError(f"With `factors`, `std` must be a number or ({K},): one noise level for each component.")
        return _Axes(flat, spread.reshape(K, d).square())
    loadings = mean.new_empty(K, 0, *shape) if factors is None else _array("factors", factors)
    if (
        loadings.ndim != mean.ndim + 1
        or len(loadings) != K
        or loadings.shape[2:] != shape
        or not loadings.shape[1] <= d
    ):
        raise InputError(
            f"`factors` must have shape ({K}, r, {', '.join(map(str, shape))}) with r <= {d}; got "
            f"{tuple(loadings.shape)}."
        )
    return _Factors.build(flat, spread.expand(K), loadings.reshape(K, loadings.shape[1], d))
