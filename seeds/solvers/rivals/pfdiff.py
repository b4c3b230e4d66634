"""PFDiff: each step is taken with the one answer from its middle, and the middle is reached with the answer before."""

import numpy as np

from seeds.integrals import Eta, Integrals
from seeds.predictions import Prediction
from seeds.solvers.levels import Levels
from seeds.solvers.registry import Solver, add
from seeds.solvers.writer import Writer
from seeds.tableaus import Orders


def middles(write: Writer, levels: Levels, prediction: Prediction, eta: Eta) -> None:
    r"""One call a step. With m_i in the middle of step i in lam, K the weight of a constant F, and P the state that is
    asked about:

        P_i = Phi(m_i, lam_i) y_i + K(lam_i -> m_i) F_{i-1},        y_{i+1} = Phi y_i + K(lam_i -> lam_{i+1}) F_i,
                                                                    F_i at P_i

    y_i itself is never asked about: it is (P_i - K F_{i-1}) / Phi(m_i, lam_i), so each row goes from middle to middle.
    The first step is Euler's.
    """
    points = levels.points
    if len(points) < 2:
        return
    lam = levels.lam
    nodes = [points[0], *levels.stages_at((lam[1:-1] + lam[2:]) / 2)] if len(points) > 2 else [points[0]]
    middle = np.array([at.lam for at in nodes])
    half, whole = (Integrals(prediction, eta, lam[:-1], end - lam[:-1]) for end in (middle, lam[1:]))
    for i in range(len(nodes)):
        phi = whole.phi[i] / half.phi[i]  # y_{i+1} = phi P_i + now F_i + before F_{i-1}
        now, before = whole.weight()[i], -phi * half.weight()[i]
        if i + 1 < len(nodes):
            phi, now, before = (half.phi[i + 1] * value for value in (phi, now, before))
            now += half.weight()[i + 1]
        weights = {write.calls: float(now)} | ({write.calls - 1: float(before)} if i else {})
        write.advance(nodes[i + 1] if i + 1 < len(nodes) else points[-1], float(phi), weights)


add(Solver("pfdiff", middles, Orders(2, None), memory=True, forms=("noise",), prediction="noise",
           note="the middle reached with the value before",
           source="Wang et al. 2024, PFDiff (arXiv:2408.08822)",
           differs="published on every second level of a grid of times; here the middle of a step is its middle in "
                   "lam"))  # fmt: skip
