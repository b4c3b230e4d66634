r"""What a run notices of itself: where it began without the data that belong there, where it grew without bound, and
whose fault NaN is.

Sizes (rms) are measured on the device, image by image and call by call, and read once, after the loop.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seeds.plans import Plan, Point

SEEN = 0.2
"""rms(data) / nsr from which on a state holds so much of the data that noise alone is not one. Stable Diffusion's own
start has 0.07."""
DROWNED = 0.02
"""rms(data) / nsr below which a state shows nothing of the data."""
USUAL = 0.5
"""rms of data at least: an image may be black."""
GROWN = 1000.0
"""How many times the size of its level a state is when something is wrong: alpha times the data's range, and sigma."""


def size(values: Tensor) -> Tensor:
    """(B,) root of the mean square of each sample, in float32 at least: one pass over the values, and no copy. Not
    finite where they are not, nor where their squares overflow; 0 of nothing."""
    flat = values.detach().reshape(len(values), -1)
    count = flat.shape[1]
    if not count:
        return flat.new_zeros(len(values))
    return torch.linalg.vector_norm(flat, 2, dim=1, dtype=torch.promote_types(flat.dtype, torch.float32)) / math.sqrt(
        count
    )


class Watch:
    """Watches the calls of one batch.

    Args:
        plan: what is run.
        seeds, dtype: of the batch.
        data_range: of the data's values.
        given: what the run starts from: "x", "data", or "" for noise alone.
        projected: a projection replaces states.
    """

    def __init__(
        self,
        plan: Plan,
        seeds: Sequence[int],
        dtype: torch.dtype,
        *,
        data_range: tuple[float, float],
        given: str,
        projected: bool,
    ):
        self.plan, self.seeds, self.dtype, self.given, self.projected = plan, list(seeds), dtype, given, projected
        self.reach = max(abs(float(end)) for end in data_range)
        self._seen: list[Tensor] = []
        self._mean: Tensor | None = None
        self._beside: Tensor | None = None
        self._finite: Tensor | None = None

    def call(self, x: Tensor, denoised: Tensor) -> None:
        """Measures a state and the answer about it; nothing waits for the device."""
        if self.plan.start_at == "mean":
            self._mean = denoised.detach().clone() if self._mean is None else self._mean
            if len(self._seen) == 2 * (self.plan.nfe - 1):
                self._beside = size(denoised - self._mean)
        self._seen += [size(x), size(denoised)]

    def end(self, x: Tensor) -> None:
        """Measures the result."""
        self._seen.append(size(x))
        self._finite = torch.isfinite(x.detach()).reshape(len(x), -1).all(1)

    def read(self) -> "Sizes":
        """What was measured, on the host: this waits for the device."""
        table = torch.stack(self._seen).cpu().double().numpy()
        beside = None if self._beside is None else self._beside.cpu().double().numpy()
        finite = np.ones(len(self.seeds), bool) if self._finite is None else self._finite.cpu().numpy()
        return Sizes(self, finite, table[::2], table[1::2], beside)


class Sizes:
    """What a `Watch` saw.

    Attributes:
        finite: (B,) whether the result is.
        x: (calls + 1, B) rms of each state, the result last.
        d: (calls, B) of each answer.
        hidden: (B,) of the data that the first state leaves out, as far as the answers tell: the larger of the first
            one, which may be a grey mean, and the last one, within the data's range; of a run that starts at the mean,
            the last one less that.
    """

    def __init__(
        self, watch: Watch, finite: np.ndarray, x: np.ndarray, d: np.ndarray, beside: np.ndarray | None = None
    ):
        self.watch, self.finite, self.x, self.d = watch, finite, x, d
        self.hidden = np.fmax(d[0], np.minimum(d[-1], watch.reach)) if beside is None else beside
        points = watch.plan.points()[: len(x)]
        # an answer about a state of the wrong scale says nothing of the data's
        told = np.isfinite(d[0]) & (watch.given != "x")
        reach = np.maximum(watch.reach, np.where(told, d[0], 0.0))
        self.level = np.array([p.alpha for p in points])[:, None] * reach + np.array([p.sigma for p in points])[:, None]
        with np.errstate(invalid="ignore"):
            self.grown = self.x > GROWN * self.level  # inf has grown, NaN has not

    @property
    def data(self) -> float:
        """rms of what the first states leave out."""
        return float(np.sqrt(np.square(self.hidden).mean()))

    @property
    def shown(self) -> float:
        """How much of the data the first state should show: its rms over nsr."""
        return self.data / self.watch.plan.start.nsr if math.isfinite(self.data) else 0.0

    def fault(self, b: int) -> str:
        """Why sample b is not finite: the state, the answer, or the plan."""
        plan, points = self.watch.plan, self.watch.plan.points()
        i_x, i_d = _first(~np.isfinite(self.x[:, b])), _first(~np.isfinite(self.d[:, b]))
        top = torch.finfo(self.watch.dtype).max
        i = min(i_x, i_d)
        where = f"at call {i} (nsr = {points[i].nsr:.4g})" if i < plan.nfe else "at the end"
        before = np.nanmax(np.where(np.isfinite(self.x[: i + 1, b]), self.x[: i + 1, b], 0.0), initial=0.0)
        if i_x <= i_d and (i == 0 or not self.grown[:i, b].any()) and max(5 * self.level[i, b], before) > top / 100:
            return (
                f"the state is beyond what {self.watch.dtype} holds, {top:.3g}, {where}. Run with dtype=torch.float32, "
                "or begin at a lower level (`nsr_max`)."
            )
        if i_x == 0:
            return (
                f"the state is not finite {where}, before the denoiser was asked: look at "
                f"`{self.watch.given or 'noise'}`."
            )
        if self.grown[: i + 1, b].any():
            return (
                f"the denoiser's answers were finite while the state was, but {plan.solver} let the state grow to "
                f"{before:.3g} and beyond, to NaN or inf {where}: the plan diverges. Take more steps, a smaller `eta` "
                "or churn, or a solver that stays stable, as seeds-1."
            )
        if i_x <= i_d:
            made = "`project` returned" if self.watch.projected else "`noise` or the plan made"
            return f"{made} a state that is not finite, {where}, of answers that were."
        return (
            f"the denoiser returned values that are not finite, of a finite state {where}. Look at its answers with "
            "`seeds.iterate`, or check it with `seeds.check_model`."
        )


def _first(found: np.ndarray) -> int:
    return int(np.argmax(found)) if found.any() else len(found) + 1


def some(seeds: Sequence[int]) -> str:
    """The first five, for an error to name."""
    return ", ".join(map(str, seeds[:5])) + (", ..." if len(seeds) > 5 else "")


def refuse_lost(batches: Sequence[Sizes], total: int) -> None:
    """Raises: FloatingPointError that says whose fault it is, if a result is not finite."""
    bad = [(sizes, b) for sizes in batches for b in np.flatnonzero(~sizes.finite).tolist()]
    if bad:
        sizes, b = bad[0]
        named = some([it.watch.seeds[k] for it, k in bad])
        raise FloatingPointError(
            f"The samples of {len(bad)} of {total} seeds ({named}) are NaN or inf: {sizes.fault(b)}"
        )


def warn(batches: Sequence[Sizes], total: int) -> None:
    """What a run should say of itself when it is over."""
    _warn_of_growth(batches, total)
    _warn_of_blind_start(batches)


def _warn_of_growth(batches: Sequence[Sizes], total: int) -> None:
    """One warning if some state was a thousand times the size of its level."""
    grown = [(sizes, b) for sizes in batches for b in np.flatnonzero(sizes.grown.any(0)).tolist()]
    if not grown:
        return
    sizes, b = grown[0]
    i, points = int(np.argmax(sizes.grown[:, b])), sizes.watch.plan.points()
    named = some([it.watch.seeds[k] for it, k in grown])
    why = (
        f"`{sizes.watch.given}` is given at another scale: x = alpha data + sigma eps. Scale it,"
        if i == 0 and sizes.watch.given
        else "The run diverges. Take more steps, a smaller `eta`, or another solver,"
    )
    warnings.warn(
        f"The states of {len(grown)} of {total} seeds ({named}) are more than {GROWN:g} times the size of their level: "
        f"{sizes.x[i, b]:.3g} where alpha = {points[i].alpha:.3g} and sigma = {points[i].sigma:.3g}, at call {i}. "
        f"{why} or give the denoiser the `data_range` of its data.",
        stacklevel=4,
    )


def _warn_of_blind_start(batches: Sequence[Sizes]) -> None:
    """One warning if a run from noise alone began where the data should be seen."""
    for sizes in batches:
        if not sizes.watch.given and sizes.shown > SEEN:
            plan = sizes.watch.plan
            alone = "noise alone" if plan.start_at == "zero" else "noise about the mean alone"
            warnings.warn(
                f"The run begins at nsr = {plan.start.nsr:.4g}, where the data (rms {sizes.data:.3g}, by the answers) "
                f"should be {sizes.shown:.2g} times the noise, but from {alone}: it cannot have the right law. Begin "
                "higher (`nsr_max`, or `grid=` where the levels are times t of the schedule and not sigma / alpha), "
                "or give what belongs there: `data=` (image-to-image) or `x=`.",
                stacklevel=4,
            )
            return


def seen(data: Tensor, at: Point) -> float:
    """rms(data) / nsr: how much of the data a state at this level shows; 0 at SNR 0."""
    return max(float(data.detach().float().square().mean().sqrt()), USUAL) / at.nsr
