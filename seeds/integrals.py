r"""The one integral behind every exponential solver, in float64 on the host.

With y = x / alpha, D = p y + q F and eta(lam) >= 0, the process  dy = (1+eta)(D - y) dlam + sqrt(2 eta) e^{-lam} dW
has the exact solution

    y(lam1) = Phi(lam1, lam0) y(lam0) + int Phi(lam1, lam) (1+eta) q F dlam + n,     Phi(b, a) = exp(-int_a^b
                                                                                     (1+eta)(1-p) dlam)
    var(n)  = int Phi(lam1, lam)^2 2 eta e^{-2 lam} dlam

A solver replaces F by a polynomial; its weights are integrals of Phi (1+eta) q times a basis function. Here all of them
are computed by
Gauss-Legendre quadrature on short panels: one code for every prediction (p, q) and every eta, without cancellation at
small h.
Accuracy: 1e-13 relative to sum |w| for h from 1e-12 to 50 (tests/laws/test_integral.py, against closed forms and
mpmath).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from seeds.errors import InputError

Array = np.ndarray
EtaLike = float | Sequence[tuple[float, float]] | Callable[[float], float]

# Gauss-Legendre, 20 points on [-1, 1]: the positive nodes and their weights, to full precision (NumPy's own lose digits
# near the ends).
_HALF_RULE = np.array(
    [
        (0.076526521133497333755, 0.1527533871307258507),
        (0.22778585114164507808, 0.14917298647260374679),
        (0.37370608871541956067, 0.14209610931838205133),
        (0.510867001950827098, 0.1316886384491766269),
        (0.63605368072651502545, 0.11819453196151841731),
        (0.74633190646015079261, 0.10193011981724043504),
        (0.83911697182221882339, 0.083276741576704748725),
        (0.91223442825132590587, 0.06267204833410906357),
        (0.96397192727791379127, 0.040601429800386941331),
        (0.99312859918509492479, 0.017614007139152118312),
    ]
)
NODES = (1 + np.concatenate([-_HALF_RULE[::-1, 0], _HALF_RULE[:, 0]])) / 2
WEIGHTS = np.concatenate([_HALF_RULE[::-1, 1], _HALF_RULE[:, 1]]) / 2


def _tail_matrix() -> Array:
    """S with int_{x_i}^1 f dx = sum_j S[i, j] f(x_j) for polynomials of degree 19 on the panel [0, 1], from the
    Legendre expansion of f."""
    x = 2 * NODES - 1
    order = len(x)
    legendre = np.polynomial.legendre.legvander(x, order)
    tails = np.empty((order, order))
    tails[:, 0] = 1 - x
    for k in range(1, order):
        tails[:, k] = (legendre[:, k - 1] - legendre[:, k + 1]) / (2 * k + 1)
    expansion = (2 * np.arange(order)[:, None] + 1) / 2 * legendre[:, :order].T * (2 * WEIGHTS)
    return tails @ expansion / 2


TAILS = _tail_matrix()
PANEL = 0.75
"""Longest panel, in nats of lam: the poles of v and raw F, pi/2 off the real axis, are then too far away to matter."""
ETA_MAX = 1000.0


@dataclass(frozen=True)
class Eta:
    """Stochasticity eta(lam) >= 0: 0 is the probability-flow ODE, 1 the reverse-time SDE of the paper.

    Args:
        value: a number, a table [(lam_from, eta), ...] (piecewise constant, first lam_from = -inf, rising) or a
            callable of lam, smooth: where it jumps the integrals are only as good as a panel of 20 points; a table is
            split at its jumps.
    Raises:
        ValueError: a value is negative, not finite or above 1000, or the table does not start at -inf or does not rise.
    """

    value: EtaLike
    table: tuple[tuple[float, float], ...] = field(init=False, repr=False, compare=False)
    """What a number or a table comes to; empty for a callable."""

    def __post_init__(self):
        value: Any = self.value
        if callable(value):
            table: tuple[tuple[float, float], ...] = ()
        else:
            try:
                rows = ((-math.inf, value),) if np.ndim(value) == 0 else value
                table = tuple((float(lam), float(eta)) for lam, eta in rows)
            except (TypeError, ValueError):
                raise InputError(
                    f"`eta` must be a number, a table [(lam_from, eta), ...] or a callable of lam, but is {value!r}. "
                    "The paper's SDE has eta = 1."
                ) from None
            froms = [lam for lam, _ in table]
            if not froms or froms[0] != -math.inf or not all(a < b for a, b in pairwise(froms)):
                raise InputError(
                    f"`eta` as a table must start at lam_from = -inf and rise, but its lam_from are {froms}. As in "
                    "[(-inf, 0), (1.2, 1)]."
                )
        object.__setattr__(self, "table", table)
        self._check(np.array([eta for _, eta in table]))

    @classmethod
    def of_fraction(cls, fraction: float, lam: Array) -> "Eta":
        """The table with 1 - exp(-2 int eta) = fraction^2 over each interval between neighbours of `lam`, a rising row
        of levels.

        The first may be -inf, SNR 0: the eta of that interval is put into its last nat, as only its integral counts
        there.
        Raises: ValueError if `fraction` is not from 0 to below 1.
        """
        if not 0 <= fraction < 1:
            raise InputError(
                f"`fraction` must be from 0 (the ODE) to below 1, but is {fraction!r}; 1 would forget the state at "
                "every step."
            )
        each, lam = -math.log1p(-(fraction**2)) / 2, np.asarray(lam, np.float64)
        table = [(-math.inf, 0.0), (float(lam[1]) - 1.0, each)] if np.isneginf(lam[0]) and len(lam) > 1 else []
        inside = lam[np.isfinite(lam)]
        table += [(float(a), each / float(b - a)) for a, b in pairwise(inside)]
        if table and table[0][0] != -math.inf:
            table[0] = (-math.inf, table[0][1])
        return cls(table or 0.0)

    @staticmethod
    def _check(values: Array) -> Array:
        bad = ~((values >= 0) & (values <= ETA_MAX))
        if bad.any():
            raise InputError(
                f"`eta` must be a number from 0 (ODE) to {ETA_MAX:g}, but is {values[bad][0]:g}. The paper's SDE has "
                "eta = 1."
            )
        return values

    @property
    def breaks(self) -> tuple[float, ...]:
        """Where a table jumps."""
        return tuple(lam for lam, _ in self.table[1:])

    @property
    def is_zero(self) -> bool:
        """True if there is no noise at any lam (a callable is never known to be zero)."""
        return not callable(self.value) and all(eta == 0 for _, eta in self.table)

    def __call__(self, lam: Array) -> Array:
        """eta at each lam (at a jump: the value after it)."""
        lam = np.asarray(lam, dtype=np.float64)
        if callable(self.value):
            return self._check(
                np.array([self._called(float(at)) for at in lam.ravel()], dtype=np.float64).reshape(lam.shape)
            )
        froms, etas = np.array(self.table).T
        return etas[np.searchsorted(froms, lam, side="right") - 1]

    def _called(self, lam: float) -> float:
        try:
            return float(self.value(lam))  # type: ignore[operator]
        except (ArithmeticError, TypeError) as error:
            raise InputError(
                f"`eta`, a function, fails at lam = {lam:g} (nsr = {math.exp(-lam):g}): {error}. Give it a value "
                "there, or a table."
            ) from error

    def total(self, lam1: float, reach: float = 60.0) -> float:
        """int_{-inf}^lam1 eta dlam, the noise of the step that leaves SNR 0: inf unless eta is 0 at high noise.

        A callable is looked at from lam1 - `reach` on; noise still on there counts as noise for ever.
        """
        if callable(self.value):
            lam0 = lam1 - reach
            if self._called(lam0) > 0:  # however large
                return math.inf
            panels = Panels(self, np.array([lam0]), np.array([reach]))
            return float(panels.sum(panels.eta)[0])
        ends = [*self.breaks, math.inf]
        if self.table[0][1] > 0:
            return math.inf
        return sum(
            eta * (min(end, lam1) - lam) for (lam, eta), end in zip(self.table[1:], ends[1:], strict=True) if lam < lam1
        )


class Panels:
    """Quadrature nodes on M intervals [lam0, lam0 + h], cut at the jumps of eta and into short panels.

    Attributes:
        owner: (P,) the interval of each panel, rising.
        offset: (P, 20) lam - lam0 at the nodes, with all its digits when h is tiny.
        weight: (P, 20) quadrature weights, in nats.
        lam, eta: (P, 20) values at the nodes.
    """

    def __init__(self, eta: Eta, lam0: Array, h: Array):
        self.count = len(lam0)
        starts, lengths, owner = _cut(eta, lam0, h)
        self.owner = owner
        self.length = lengths[:, None]
        self.offset = starts[:, None] + self.length * NODES
        self.weight = self.length * WEIGHTS
        self.lam = lam0[owner][:, None] + self.offset
        self.eta = eta(self.lam) if callable(eta.value) else np.broadcast_to(eta(self.lam[:, 9:10]), self.lam.shape)

    def sum(self, values: Array) -> Array:
        """(M,) the integral of a function given at the nodes."""
        return np.bincount(self.owner, weights=(self.weight * values).sum(axis=1), minlength=self.count)

    def tail(self, values: Array) -> Array:
        """(P, 20) the integral from each node to the end of its interval."""
        per_panel = (self.weight * values).sum(axis=1)
        last = np.searchsorted(self.owner, self.owner, side="right") - 1
        behind = last - np.arange(len(last))  # panels of the same interval that follow
        later = np.zeros_like(per_panel)
        for count in range(1, behind.max(initial=0) + 1):
            (at,) = np.nonzero(behind == count)
            later[at] = later[at + 1] + per_panel[at + 1]
        return self.length * _apply(TAILS, values) + later[:, None]


def _apply(matrix: Array, rows: Array) -> Array:
    """rows @ matrix.T by plain sums: a BLAS rounds a row in another way among other rows, and a run in two parts is to
    be the run to the bit."""
    total = rows[:, :1] * matrix[:, 0]
    for j in range(1, matrix.shape[1]):
        total += rows[:, j : j + 1] * matrix[:, j]
    return total


def _cut(eta: Eta, lam0: Array, h: Array) -> tuple[Array, Array, Array]:
    """Panels as (start offset, length, owner): no panel crosses a jump of eta, none is longer than PANEL."""
    ends = [np.zeros(len(h)), *(np.clip(lam - lam0, 0.0, h) for lam in eta.breaks), h]
    edges = np.stack(ends, axis=1)
    lengths = np.diff(edges, axis=1)
    middle = lam0[:, None] + (edges[:, :-1] + edges[:, 1:]) / 2
    rate = 1 + eta(np.stack([middle, lam0[:, None] + edges[:, :-1], lam0[:, None] + edges[:, 1:]])).max(axis=0)
    counts = np.ceil(lengths / PANEL * np.maximum(1.0, rate / 10)).astype(int)
    repeat = counts.ravel()
    piece = np.repeat(np.arange(repeat.size), repeat)
    within = np.arange(repeat.sum()) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    length = lengths.ravel()[piece] / repeat[piece]
    return edges[:, :-1].ravel()[piece] + within * length, length, piece // lengths.shape[1]


class Integrals:
    """Phi, weights and noise variance of M intervals [lam0, lam0 + h] at once.

    Args:
        prediction: has `p1` (1 - p) and `q`, functions of nsr (seeds.predictions.Prediction).
        eta: the stochasticity.
        lam0, h: (M,) float64; h is taken as given, since lam1 - lam0 has lost its digits when h is tiny.
    """

    def __init__(self, prediction, eta: Eta, lam0: Array, h: Array):
        self.lam0, self.h = np.asarray(lam0, dtype=np.float64), np.asarray(h, dtype=np.float64)
        self.panels = panels = Panels(eta, self.lam0, self.h)
        nsr = np.exp(-panels.lam)
        decay = (1 + panels.eta) * prediction.p1(nsr)
        self.phi = np.exp(-panels.sum(decay))
        """(M,) Phi over each whole interval."""
        self._phi_nodes = np.exp(-panels.tail(decay))
        self._gain = self._phi_nodes * (1 + panels.eta) * prediction.q(nsr)
        self._nsr = nsr

    def weight(self, basis: Array | float = 1.0) -> Array:
        """(M,) int Phi(lam1, lam) (1+eta) q basis dlam; `basis` is given at the nodes, (P, 20)."""
        return self.panels.sum(self._gain * basis)

    def size(self, basis: Array | float = 1.0) -> Array:
        """(M,) int |Phi (1+eta) q basis| dlam: what the rounding of a weight is relative to."""
        return self.panels.sum(np.abs(self._gain * basis))

    def moment(self, k: int) -> Array:
        """(M,) the weight of ((lam - lam0) / h)^(k-1) / (k-1)!; in data mode with constant eta and H = (1+eta) h it is
        H phi_k(-H)."""
        if k == 1:
            return self.weight()
        fraction = self.panels.offset / self.h[self.panels.owner][:, None]
        return self.weight(fraction ** (k - 1) / math.factorial(k - 1))

    def variance(self) -> Array:
        """(M,) variance of the noise in y; exactly 0 where eta is 0 on the whole interval."""
        return self.panels.sum((self._phi_nodes * self._nsr) ** 2 * (2 * self.panels.eta))

    def lagrange(self, nodes: Array, u: Callable[[Array], Array] | None = None) -> Array:
        """(M, k) the weights of the Lagrange polynomials: column j is 1 at nodes[:, j] and 0 at the other nodes.

        Args:
            nodes: (M, k) positions as lam - lam0: stages of this interval, earlier steps (negative), or its end (h).
            u: the variable of the polynomials, a monotone function of lam; None for lam itself (theory: section 10).
        """
        owner, at = self.panels.owner, self.panels.offset
        if u is not None:
            nodes, at = u(self.lam0[:, None] + nodes), u(self.panels.lam)
        return np.stack([self.weight(basis) for basis in lagrange_values(at, nodes[owner])], axis=1)


def lagrange_values(at: Array, nodes: Array) -> Iterator[Array]:
    """(P, places) for each of k: the Lagrange polynomial that is 1 at nodes[:, j] and 0 at the other nodes, at `at`,
    (P, places).

    Args:
        nodes: (P, k).
    """
    for j in range(nodes.shape[1]):
        basis = np.ones_like(at)
        for i in range(nodes.shape[1]):
            if i != j:
                basis = basis * (at - nodes[:, i, None]) / (nodes[:, j] - nodes[:, i])[:, None]
        yield basis
