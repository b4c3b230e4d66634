"""The one fold: from a step as an exponential method says it, in y and F, to weights of states and answers."""

import math

import pytest

import seeds
from seeds.predictions import PREDICTIONS
from seeds.solvers import Writer
from seeds.solvers.levels import lay_out


def writer(prediction="v"):
    schedule = seeds.VP()
    levels = lay_out(schedule, schedule.t_of_nsr([20.0, 5.0, 1.0, 0.2]))
    return Writer("mine", levels, prediction=PREDICTIONS[prediction](), s_noise=1.0), levels.points


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_row_makes_what_the_step_says(prediction):
    """A stage, then a step from the same start that reads three values: run by hand with F and y."""
    write, (p0, p1, p2, p3) = writer(prediction)
    write.advance(p1, 0.8, {0: 0.3})
    write.advance(p2, 0.7, {1: -0.4, 0: 0.25}, completes=False)
    assert write.step == 1 and write.calls == 2
    write.advance(p3, 0.6, {0: 0.1, 1: 0.2, 2: 0.5}, 0.05)
    assert write.step == 3
    x, answers, f = [1.3], [0.2, -0.5, 0.9], []
    form, points = PREDICTIONS[prediction](), (p0, p1, p2, p3)
    for i, row in enumerate(write.rows):
        y = x[i] / points[i].alpha
        f.append((answers[i] - float(form.p(points[i].nsr)) * y) / float(form.q(points[i].nsr)))
        x.append(
            sum(w * x[j] for j, w in row.x) + sum(w * answers[j] for j, w in row.d) + sum(2.0 * w for _, w in row.z)
        )
    y1 = 0.8 * x[0] / p0.alpha + 0.3 * f[0]
    y2 = 0.7 * x[1] / p1.alpha - 0.4 * f[1] + 0.25 * f[0]
    y3 = 0.6 * x[1] / p1.alpha + 0.1 * f[0] + 0.2 * f[1] + 0.5 * f[2] + 0.05 * 2.0
    assert [x[1] / p1.alpha, x[2] / p2.alpha, x[3] / p3.alpha] == pytest.approx([y1, y2, y3], rel=1e-12)
    assert write.draws == [(pytest.approx(p1.lam), pytest.approx(p3.lam), "path")], (
        "one draw, for the stretch from the start of the step"
    )


def test_noise_as_a_number_none_or_draws_with_their_factors():
    write, (p0, p1, p2, _) = writer("data")
    first, second = write.draw(p0.lam, -2.0), write.draw(-2.0, p1.lam)
    write.advance(p1, 1.0, {0: 0.5}, {first: (0.9, 0.3), second: 0.2})
    assert dict(write.rows[0].z) == pytest.approx({first: p1.alpha * 0.27, second: p1.alpha * 0.2}, rel=1e-15)
    write.advance(p2, 1.0, {1: 0.5}, 0.0)
    assert write.rows[1].z == () and len(write.draws) == 2


def test_a_state_moved_back_is_folded_at_its_new_level():
    write, (_, p1, p2, _) = writer("noise")
    write.advance(p1, 0.8, {0: 0.3})
    lifted = seeds.Point(0.9, 0.1, math.sqrt(1 - 0.01))
    write.renoise(lifted)
    write.advance(p2, 0.8, {1: 0.3})
    assert write.level(1) == lifted and write.rows[1].at == lifted
    assert dict(write.rows[1].d) == pytest.approx({1: p2.alpha * 0.3 / -lifted.nsr}, rel=1e-14)
