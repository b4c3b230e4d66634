"""Every solver obeys every law that applies to it. The laws are in seeds/laws; a solver added to the registry is asked
without another line.

pytest tests/laws -p my_solvers -k krogstad
"""

import pytest

import seeds
from seeds.laws import LAWS, check, subjects
from seeds.solvers import Orders, Solver

TOGETHER = sorted(
    subjects(), key=lambda it: (min(it.solver.name, it.solver.twin or it.solver.name), str(it.options), it.prediction)
)
"""A solver beside its twin, and all laws of it in a row: what one of them has computed serves the next."""
PAIRS = [(law, subject) for subject in TOGETHER for law in LAWS.values() if law.applies(subject)]


@pytest.mark.parametrize(("law", "subject"), PAIRS, ids=lambda it: str(getattr(it, "name", it)).replace(" ", "_"))
def test_law(law, subject):
    assert list(law.faults(subject)) == [], law.says


def test_what_applies_follows_from_what_a_solver_can_do():
    asked = {}
    for law, subject in PAIRS:
        asked.setdefault(law.name, set()).add(subject.solver.name)
    everyone = set(seeds.SOLVERS)
    for name in ("lengths", "final", "saved", "dtype", "SNR 0", "memory", "schedules", "mutants", "ODE order"):
        assert asked[name] == everyone, name
    assert asked["constant and path"] | asked["still and noise"] == everyone
    assert asked["linear"] == {name for name, it in seeds.SOLVERS.items() if it.tableau}
    assert asked["weak order"] == {name for name, it in seeds.SOLVERS.items() if it.noise and it.orders().weak}
    assert (
        asked["weak order, skew"]
        > asked["weak order, mixture"]
        == {name for name, it in seeds.SOLVERS.items() if it.noise == "eta" and not it.memory}
    )


def two_step(write, levels, prediction, eta, *, wrong=1.0):
    """Exponential Adams with two values and noise, as a user would write it."""
    lam, before = levels.lam, None
    for i, to in enumerate(levels.points[1:]):
        it = seeds.integrals.Integrals(prediction, eta, lam[i : i + 1], lam[i + 1 : i + 2] - lam[i])
        now = write.calls
        if before is None:
            weights = {now: it.weight()[0]}
        else:
            old, new = it.lagrange(lam[None, i - 1 : i + 1] - lam[i])[0]
            weights = {before: old * wrong, now: new}
        write.advance(to, float(it.phi[0]), {j: float(w) for j, w in weights.items()}, float(it.variance()[0] ** 0.5))
        before = now


def test_a_writers_method_is_asked_all_that_makes_sense():
    """15 lines, with memory and noise, and no table: every law but those of tables and of methods without memory."""
    own = Solver("two-step", two_step, Orders(2, 2), noise="eta", memory=True)
    found = {law.name: faults for law, faults in check(own)}
    assert not any(found.values()), found
    assert set(LAWS) - set(found) == {"linear", "still and noise", "weak order, mixture"}


@pytest.mark.parametrize(("solver", "laws"), [
    (Solver("x", two_step, Orders(2, 2), noise="eta"), {"memory"}),
    (Solver("x", two_step, Orders(1, 1), noise="eta", memory=True), {"ODE order", "weak order"}),
    (Solver("x", two_step, Orders(3, 3), noise="eta", memory=True), {"ODE order", "weak order", "weak order, skew"}),
    (Solver("x", two_step, Orders(2, 2), noise="eta", memory=True, cases=({"wrong": 1.01},)), {"constant and path"}),
], ids=["memory not declared", "orders too low", "orders too high", "a weight 1 % off"])  # fmt: skip
def test_what_is_wrong_is_found(solver, laws):
    found = {law.name for law, faults in check(solver) if faults}
    assert laws <= found and "lengths" not in found


def ancestral(write, levels, prediction, eta, *, louder=1.0):
    for p0, p1 in levels.steps:
        i, e, ratio = write.calls, float(eta(p0.lam)), p1.nsr / p0.nsr
        kept = ratio ** (1 + e)
        z = {write.draw(p0.lam, p1.lam): louder * p1.sigma * (1 - ratio ** (2 * e)) ** 0.5} if e else {}
        write.row(p1, x={i: p1.alpha / p0.alpha * kept}, d={i: p1.alpha * (1 - kept)}, z=z)


def test_the_noise_of_a_method_that_is_no_exponential_one_is_known_too():
    """No formula of its own is asked for: the noise of a short step is the process's."""
    right, wrong = (
        Solver("x", ancestral, Orders(1, 1), noise="eta", interpolates=False, cases=({"louder": by},))
        for by in (1.0, 1.01)
    )
    assert not any(faults for _, faults in check(right))
    assert {law.name for law, faults in check(wrong) if faults} >= {"still and noise"}
