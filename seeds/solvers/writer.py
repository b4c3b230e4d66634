"""The writer: what a solver builder hands its coefficients to, call by call, and what makes a plan of them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from seeds.integrals import Eta
from seeds.plans import CLEAN, Draw, Opening, Plan, Point, Row, Terms, terms
from seeds.predictions import PREDICTIONS, Prediction
from seeds.solvers.levels import Levels


class Writer:
    """Collects the rows of a plan. `at` is the level of the newest state, `calls` the index of the model call that is
    next.

    `final` says that the final denoise will follow. A solver takes `write` and, step by step, says what to make of the
    states and answers so far:

        i = write.calls
        write.row(p1, x={i: a}, d={i: b})        # ask the model about the state at write.at; the new state, at level
                                                 p1, is a x_i + b D_i
        write.advance(p1, phi, {i: w}, std)      # the same for an exponential method: y1 = phi y0 + w F_i + std z
    """

    def __init__(
        self,
        solver: str,
        levels: Levels,
        *,
        prediction: Prediction | None = None,
        s_noise: float = 1.0,
        final: bool = False,
    ):
        self.solver, self.levels, self.s_noise, self.final = solver, levels, s_noise, final
        self.prediction = prediction or PREDICTIONS["data"]()
        self.at = levels.points[0]
        self.step = 0
        """Index of the state that the present step starts from."""
        self._forms: dict[int, tuple[float, float]] = {}
        self.rows: list[Row] = []
        self.draws: list[Draw] = []
        self.opening = Opening()

    @property
    def calls(self) -> int:
        return len(self.rows)

    def draw(self, lam0: float, lam1: float, stream: str = "path") -> int:
        """A new standard normal draw for the stretch of path lam0 -> lam1; returns its index."""
        self.draws.append(Draw(float(lam0), float(lam1), stream))
        return len(self.draws) - 1

    def row(
        self,
        to: Point,
        x: Mapping[int, float] | None = None,
        d: Mapping[int, float] | None = None,
        z: Mapping[int, float] | None = None,
        *,
        completes: bool = True,
    ) -> None:
        """Asks the model about the newest state and makes the next one, at level `to`; `s_noise` scales the noise."""
        noise = terms((j, self.s_noise * weight) for j, weight in (z or {}).items())
        self.rows.append(Row(self.at, terms((x or {}).items()), terms((d or {}).items()), noise, completes))
        self.at = to
        self.step = self.calls if completes else self.step

    def advance(
        self,
        to: Point,
        phi: float,
        weights: Mapping[int, float],
        noise: float | Mapping[int, float | Sequence[float]] = 0.0,
        *,
        completes: bool = True,
    ) -> None:
        """`row` for an exponential method: with y = x / alpha, y_0 where the step starts, and F_j what the solver
        interpolates, D_j = p_j y_j + q_j F_j,

            y_to = phi y_0 + sum_j weights[j] F_j + sum_k noise[k] z_k,        theory section 4

        is folded into weights of states and answers:  F_j = (D_j - p_j y_j) / q_j.

        Args:
            to: level of the new state.
            phi: Phi from the start of the step to there.
            weights: for model calls of this step or of earlier ones, {call: weight of its F}.
            noise: {draw: weight}, where a weight may be given as its factors, (Phi from the end of its stretch, std);
                or one number, the standard deviation of a fresh draw for the whole stretch from the start of the step.
            completes: False for a stage.
        """
        start, x, d = self.level(self.step), {}, {}
        for j, weight in weights.items():
            p, q = self._form(j)
            x[j] = -to.alpha * weight * p / (q * self.level(j).alpha)
            d[j] = to.alpha * weight / q
        x[self.step] = x.get(self.step, 0.0) + to.alpha * phi / start.alpha
        if not isinstance(noise, Mapping):
            noise = {self.draw(start.lam, to.lam): noise} if noise else {}
        z = {
            k: math.prod(value if isinstance(value, Sequence) else (value,), start=to.alpha)
            for k, value in noise.items()
        }
        self.row(to, x, d, z, completes=completes)

    def level(self, j: int) -> Point:
        """The level of state j, where call j asks about it."""
        return self.rows[j].at if j < self.calls else self.at

    def _form(self, j: int) -> tuple[float, float]:
        """p and q at state j."""
        if j not in self._forms:
            nsr = np.array([self.level(j).nsr])
            self._forms[j] = float(self.prediction.p(nsr)[0]), float(self.prediction.q(nsr)[0])
        return self._forms[j]

    def renoise(self, to: Point, s_noise: float = 1.0) -> None:
        """Moves the newest state back to a noisier level with fresh noise (churn): x -> (alpha1 / alpha0) x + alpha1
        sqrt(nsr1^2 - nsr0^2) z.

        `s_noise` scales this noise, on top of the writer's own.
        """
        here = self.at
        scale = to.alpha / here.alpha
        weight = s_noise * self.s_noise * to.alpha * math.sqrt(to.nsr**2 - here.nsr**2)
        z = (self.draw(to.lam, here.lam, "churn"), weight)

        def scaled(pairs: Terms) -> Terms:
            return tuple((j, scale * value) for j, value in pairs)

        if self.rows:
            last = self.rows[-1]
            self.rows[-1] = Row(last.at, scaled(last.x), scaled(last.d), (*scaled(last.z), z), last.completes)
        else:
            self.opening = Opening(scale * self.opening.scale, (*scaled(self.opening.z), z))
        self.at = to

    def leave_snr_zero(self, to: Point, eta: Eta, kept: float | None = None) -> None:
        """The step from alpha = 0, in closed form:  x1 = (sigma1/sigma0) e^{-E} x0 + alpha1 D + sigma1 sqrt(1 -
        e^{-2E}) z,  E = int eta dlam.

        `kept` is e^{-E} of a method with noise of another kind.
        """
        kept = math.exp(-eta.total(to.lam)) if kept is None else kept
        i, x, z = self.calls, {}, {}
        if kept > 0:
            x = {i: to.sigma / self.at.sigma * kept}
        if kept < 1:
            z = {self.draw(-math.inf, to.lam): to.sigma * math.sqrt((1 - kept) * (1 + kept))}
        self.row(to, x, {i: to.alpha}, z)

    def denoise(self) -> None:
        """The last row: returns x = D. One call, counted."""
        self.row(CLEAN, d={self.calls: 1.0})

    def plan(self) -> Plan:
        """The plan written so far."""
        return Plan(self.solver, self.levels.points[0], tuple(self.rows), self.at, tuple(self.draws), self.opening)
