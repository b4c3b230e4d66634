"""The levels of a run: cut at start and stop, rounded to what a network knows, looked up in the schedule."""

import math

import numpy as np
import pytest

from seeds.schedules import EDM, VP, Discrete, Flow
from seeds.solvers.levels import Levels, lay_out, points_at

T = np.array([80.0, 20.0, 5.0, 1.0, 0.1])


def nsr(levels):
    return [point.nsr for point in levels.points]


def test_points_hold_python_floats_of_the_schedule():
    t = np.array([0.9, 0.1])
    for schedule in (VP(), Flow()):
        points = points_at(schedule, t)
        assert all(type(value) is float for point in points for value in point)
        assert [tuple(point) for point in points] == [(v, schedule.alpha(v), schedule.sigma(v)) for v in t.tolist()]


def test_a_grid_is_kept_bit_for_bit():
    levels = lay_out(EDM(), T)
    assert [point.t for point in levels.points] == T.tolist() and levels.total == 5 and levels.round_nsr is None
    np.testing.assert_array_equal(levels.lam, -np.log(T))
    assert [(a.t, b.t) for a, b in levels.steps] == list(zip(T[:-1].tolist(), T[1:].tolist(), strict=True))
    assert nsr(levels.after_first()) == nsr(levels)[1:] and levels.after_first().total == 5


@pytest.mark.parametrize(("options", "want"), [
    ({"start": 0}, [80, 20, 5, 1, 0.1]),
    ({"start": 2}, [5, 1, 0.1]),
    ({"start": 4}, [0.1]),
    ({"stop": 1}, [80, 20]),
    ({"stop": 4}, [80, 20, 5, 1, 0.1]),
    ({"start": 1, "stop": 3}, [20, 5, 1]),
    ({"start": ("nsr", 7.0)}, [7, 5, 1, 0.1]),
    ({"start": ("lam", -math.log(7.0))}, [7, 5, 1, 0.1]),
    ({"start": ("nsr", 5.0)}, [5, 1, 0.1]),
    ({"start": ("nsr", 5.0 * (1 + 1e-13))}, [5, 1, 0.1]),
    ({"start": ("nsr", 100.0)}, [100, 80, 20, 5, 1, 0.1]),
    ({"start": ("nsr", 0.05)}, [0.05]),
    ({"stop": ("nsr", 7.0)}, [80, 20, 7]),
    ({"stop": ("nsr", 5.0)}, [80, 20, 5]),
    ({"stop": ("nsr", 0.01)}, [80, 20, 5, 1, 0.1, 0.01]),
    ({"start": ("nsr", 7.0), "stop": ("nsr", 3.0)}, [7, 5, 3]),
    ({"start": ("nsr", 4.0), "stop": ("nsr", 3.0)}, [4, 3]),
    ({"start": ("nsr", 7.0), "stop": 3}, [7, 5, 1]),
    ({"start": 1, "stop": ("nsr", 7.0)}, [20, 7]),
])  # fmt: skip
@pytest.mark.parametrize("schedule", [EDM(), VP(), Flow()], ids=repr)
def test_start_and_stop(schedule, options, want):
    levels = lay_out(schedule, np.asarray(schedule.t_of_nsr(T)), **options)
    assert nsr(levels) == pytest.approx(want, rel=1e-11) and levels.total == 5


def test_a_level_already_there_is_that_of_the_grid_to_the_bit():
    t = np.asarray(VP().t_of_nsr(T))
    assert lay_out(VP(), t, start=("nsr", 5.0)).points == lay_out(VP(), t, start=2).points
    assert lay_out(VP(), t, stop=("nsr", 5.0)).points == lay_out(VP(), t, stop=2).points


def test_snr_0_is_a_level_like_any_other():
    levels = lay_out(Flow(), np.array([1.0, 0.5, 0.1]))
    assert nsr(levels)[0] == math.inf and levels.lam[0] == -math.inf
    assert nsr(lay_out(Flow(), np.array([1.0, 0.5, 0.1]), start=("nsr", 3.0))) == pytest.approx([3.0, 1.0, 1 / 9])
    assert nsr(lay_out(Flow(), np.array([1.0, 0.5, 0.1]), round_nsr=np.round, stop=1)) == [math.inf, 1.0]


@pytest.mark.parametrize(("options", "words"), [
    ({"start": 5}, r"`start` = 5 is not in the grid: its levels have the indices 0 \(noisiest\) to 4"),
    ({"stop": -1}, "`stop` = -1 is not in the grid"),
    ({"start": 2, "stop": 2}, "`start` = 2 lies behind `stop` = 2: no step is left"),
    ({"stop": 0}, "lies behind `stop` = 0"),
    ({"start": ("nsr", 0.5), "stop": 1}, "lies behind"),
    ({"start": 3, "stop": ("nsr", 7.0)}, "lies behind"),
    ({"start": ("sigma", 7.0)}, r"`start` as a level is \('nsr', value\) or \('lam', value\), but is \('sigma', 7.0\)"),
    ({"start": ("nsr", 0.0)}, "is not a noise level: nsr must be positive and finite"),
    ({"start": ("nsr", math.inf)}, "is not a noise level"),
    ({"stop": ("lam", math.nan)}, "is not a noise level"),
    ({"round_nsr": lambda nsr: 0 * nsr}, "`round_nsr` sends every level of the grid to 0, the clean end"),
])  # fmt: skip
def test_what_is_no_part_of_the_grid_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        lay_out(EDM(), T, **options)


def test_rounding_merges_equal_neighbours_and_leaves_out_the_clean_end():
    """80 and 20 stay what they are to the bit; 5 and 4.9 meet; 0.2 is rounded to the clean end."""
    t = np.array([80.0, 20.0, 5.1, 4.9, 0.2])
    levels = lay_out(EDM(), t, round_nsr=np.round)
    assert nsr(levels) == [80.0, 20.0, 5.0] and levels.total == 5
    assert levels.at_lam(-np.log([3.3, 0.7]))[0].nsr == pytest.approx(3.0, rel=1e-15)
    vp = lay_out(VP(), np.asarray(VP().t_of_nsr(t)), round_nsr=np.round)
    assert nsr(vp) == pytest.approx([80.0, 20.0, 5.0], rel=1e-13)
    assert nsr(lay_out(EDM(), t, start=("nsr", 7.4), round_nsr=np.round)) == [7.0, 5.0]


def test_a_table_brings_its_levels_as_whole_steps():
    table = Discrete.linear()
    levels = lay_out(table, np.array([999.0, 640.3, 12.6, 0.0]), round_nsr=table.round_nsr)
    assert [point.t for point in levels.points] == [999.0, 640.0, 13.0, 0.0]
    assert [point.alpha**2 for point in levels.points] == pytest.approx(
        [table.alphas_cumprod[i] for i in (999, 640, 13, 0)], rel=1e-15
    )
    assert [point.t for point in levels.at_lam(table.lam(np.array([500.2, 77.9])))] == [500.0, 78.0]


def test_levels_without_rounding_are_where_they_are_asked():
    (point,) = Levels(VP(), (), None).at_lam(np.array([0.3]))
    assert point.lam == pytest.approx(0.3, rel=1e-13)
