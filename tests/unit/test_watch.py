"""What a run notices of itself: a start without the data that belong there, states that grow without bound, and whose
fault NaN is."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import seeds
from seeds.exact import Gaussian, GaussianMixture
from seeds.watch import size

UNIT = Gaussian(0.0, 1.0, shape=(2,), schedule=seeds.EDM())
MODES = GaussianMixture(torch.tensor([[2.0], [4.0]]), 0.1)


def draw(denoiser=UNIT, shape=(2,), seed=range(4), **options):
    return seeds.sample(
        denoiser,
        shape,
        seed=seed,
        **{"schedule": "edm", "solver": "seeds-3", "steps": 4, "grid": "uniform_lam", **options},
    )


# a start that cannot be


@pytest.mark.parametrize("how", [
    {"start": ("nsr", 1.0)}, {"nsr_max": 1.0}, {"sigmas": np.geomspace(1, 0.01, 9), "grid": "karras", "steps": None},
    {"start": ("nsr", 1.0), "batch": 3},
])  # fmt: skip
@pytest.mark.parametrize("schedule", ["vp", "edm", "flow"])
def test_a_start_from_noise_where_the_data_should_be_seen_is_warned_of(how, schedule):
    with pytest.warns(
        UserWarning,
        match=r"begins at nsr = 1, where the data \(rms [23]\.\d*, by the answers\) should be [23].* from noise "
        r"alone.*`data=`",
    ) as found:
        draw(MODES, (1,), schedule=schedule, **how)
    assert len(found) == 1 and found[0].filename == __file__
    draw(MODES, (1,), schedule=schedule, data=torch.full((1,), 3.0), **how)
    draw(MODES, (1,), schedule=schedule, x=torch.full((4, 1), 3.0), **how)


def test_data_that_are_mostly_black_are_seen_by_the_last_answer():
    """One bright pixel of 16, in [0, 1]: the first answer is their grey mean, of rms 0.09."""
    with pytest.warns(
        UserWarning, match=r"the data \(rms 0\.2[45]\d*, by the answers\) should be 0\.25 times the noise"
    ):
        draw(GaussianMixture(torch.eye(16), 0.02), (16,), nsr_max=1.0)


@pytest.mark.parametrize("how", [{}, {"nsr_max": 14.6}, {"nsr_max": 6.0}, {"schedule": "flow"}, {"schedule": "cosine"}])
def test_usual_starts_are_not_warned_of(how):
    """Stable Diffusion's own, nsr 14.6, among them, on data of rms 1."""
    draw(**how)


def test_a_start_at_the_mean_is_held_against_what_is_left_of_the_data_there():
    """Modes at 2 and 4: rms 3.2, but 1 about the mean, which is 0.1 times the noise at nsr 10, and as large at nsr
    1."""
    draw(MODES, (1,), seed=range(50), start_at="mean", nsr_max=10.0)
    with pytest.warns(
        UserWarning, match=r"the data \(rms [01]\.\d*, by the answers\) should be .* from noise about the mean alone"
    ):
        draw(MODES, (1,), seed=range(50), start_at="mean", nsr_max=1.0)


def test_times_given_as_sigmas_of_a_flow_schedule_are_refused_as_times():
    words = r"`sigmas` run from 1 to 0 on a flow schedule: those are its times t, .*Give them as grid="
    with pytest.raises(ValueError, match=words):
        seeds.plan("seeds-2", schedule="flow", sigmas=np.linspace(1, 0, 21))
    assert seeds.plan("seeds-2", schedule="flow", grid=np.linspace(1, 0, 21)).start.alpha == 0
    assert seeds.plan("seeds-2", schedule="flow", sigmas=np.linspace(1, 0.05, 20)).start.nsr == pytest.approx(1.0), (
        "without the last 0: nsr"
    )
    assert seeds.plan("seeds-2", schedule="flow", sigmas=[3.0, 1.0, 0.0]).start.nsr == pytest.approx(3.0)
    assert seeds.plan("seeds-2", schedule="edm", sigmas=[1.0, 0.0]).start.nsr == 1.0


@pytest.mark.parametrize("how", [{}, {"schedule": "flow"}, {"nsr_min": 0.01},
                                 {"sigmas": [80.0, 1.0, 0.0], "grid": "karras", "steps": None},
                                 {"plan": seeds.plan("seeds-1", steps=2, schedule="edm"), "schedule": None,
                                     "solver": None, "steps": None}])  # fmt: skip
def test_an_image_without_a_start_is_refused(how):
    how = {"schedule": "edm", "solver": "seeds-3", "steps": 3, **how}
    with pytest.raises(
        ValueError, match=r"`data` is given, but not where the run begins, which is at nsr = .*start=\('nsr', 2.0\)"
    ):
        seeds.sample(
            UNIT, (2,), seed=1, data=torch.ones(2), **{key: value for key, value in how.items() if value is not None}
        )


def test_an_image_with_levels_of_its_own_needs_no_start():
    for how in (
        {"nsr_max": 2.0},
        {"sigmas": [2.0, 1.0, 0.0], "grid": "karras", "steps": None},
        {"grid": np.array([2.0, 1.0]), "steps": None},
    ):
        draw(data=torch.zeros(2), **how)
    draw(data=torch.ones(2), start=("nsr", 80.0)), draw(data=torch.ones(2), start=0)


# whose fault


def test_an_answer_that_is_not_finite_is_the_denoisers():
    def breaks(x, at):
        return x * math.nan if at.nsr < 1 else UNIT(x, at)

    with pytest.raises(
        FloatingPointError,
        match=r"samples of 4 of 4 seeds \(0, 1, 2, 3\) are NaN or inf: the denoiser returned .* at call \d+ \(nsr = "
        r"0\.",
    ):
        draw(breaks)


def test_each_image_has_its_own_fault():
    def breaks(x, at):
        return torch.where(torch.tensor([[False], [True], [False]]), math.inf, UNIT(x, at))

    with pytest.raises(
        FloatingPointError, match=r"samples of 1 of 3 seeds \(8\).*the denoiser returned.*at call 0 \(nsr = 80\)"
    ):
        draw(breaks, seed=[7, 8, 9])


def test_a_plan_that_diverges_is_not_laid_at_the_denoisers_door():
    how = {"solver": "euler-maruyama", "steps": 40, "eta": 100.0}
    with pytest.raises(
        FloatingPointError, match=r"euler-maruyama let the state grow to .* the plan diverges\. Take more steps"
    ):
        draw(seed=range(20), **how)


def test_a_projection_that_breaks_the_state_is_named():
    with pytest.raises(FloatingPointError, match=r"`project` returned a state that is not finite, at call 2 \(nsr = "):
        draw(project=lambda x, at, z: x * math.nan if at.nsr < 10 else x, solver="seeds-1", steps=6)


def test_noise_that_is_not_finite_is_named():
    with pytest.raises(
        FloatingPointError,
        match=r"the state is not finite at call 0 \(nsr = 80\), before the denoiser was asked: look at `noise`",
    ):
        draw(noise=lambda j, lam0, lam1, shape: torch.full(shape, math.nan))
    with pytest.raises(FloatingPointError, match=r"`noise` or the plan made a state that is not finite, at call 1"):
        draw(noise=lambda j, lam0, lam1, shape: torch.full(shape, math.nan if j >= 0 else 1.0), solver="seeds-1")


@pytest.mark.parametrize(("how", "words"), [
    ({"nsr_max": 30000.0, "steps": 10, "seed": range(100)},
        r"the state is beyond what torch.float16 holds, 6.55e\+04, at call 0 .*dtype=torch.float32"),
    ({"x": torch.full((4, 2), 1e5), "start": 1}, r"`x` holds values beyond torch.float16, 6.55e\+04, for 4 of 4 seeds"),
])  # fmt: skip
def test_half_precision_is_named_where_it_is_too_small(how, words):
    with pytest.raises((FloatingPointError, ValueError), match=words):
        draw(dtype=torch.float16, **how)


@pytest.mark.parametrize("name", ["x", "data"])
def test_a_state_that_is_not_finite_is_refused_before_any_call(name):
    given = torch.ones(4, 2)
    given[2, 1] = math.nan
    with pytest.raises(ValueError, match=rf"`{name}` holds NaN or inf for 1 of 4 seeds \(2\), before any model call"):
        draw(lambda x, at: pytest.fail("asked"), start=1, **{name: given})


def test_states_that_grow_are_warned_of_once():
    with pytest.warns(
        UserWarning,
        match=r"states of 100 of 100 seeds \(0, 1, 2, 3, 4, ...\) are more than 1000 times the size of their level",
    ) as found:
        draw(seed=range(100), solver="euler-maruyama", steps=40, eta=20.0, batch=30)
    assert len(found) == 1 and found[0].filename == __file__
    with pytest.warns(
        UserWarning, match=r"`x` is given at another scale: x = alpha data \+ sigma eps. Scale it, or give the denoiser"
    ):
        draw(x=torch.full((4, 2), 1e6), start=2, solver="seeds-1")
    with pytest.warns(UserWarning, match="more than 1000 times"):
        list(seeds.iterate(UNIT, (2,), seed=range(4), solver="euler-maruyama", steps=40, eta=20.0, grid="uniform_lam"))


def test_data_of_a_wide_range_is_not_taken_for_growth():
    wide = Gaussian(20_000.0, 5000.0, shape=(2,), schedule=seeds.VP())
    # 80 is no high level for such data, which is another matter
    with pytest.warns(UserWarning, match="from noise alone"):
        draw(wide, schedule="vp")

    class Told(Gaussian):
        data_range = (0.0, 65535.0)

    draw(Told(0.0, 5000.0, shape=(2,), schedule=seeds.EDM()), nsr_max=1e6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_size_of_each_sample(dtype):
    values = torch.tensor([[1.0, -7.0], [math.nan, 9.0], [-math.inf, 1.0], [3e4, 3e4]], dtype=dtype)
    sizes = size(values)
    assert sizes[0] == 5 and sizes[1].isnan() and sizes[2].isinf() and sizes[3] == pytest.approx(3e4, rel=0.01)
    assert size(torch.zeros(3, 0, 2)).tolist() == [0, 0, 0] and size(torch.tensor([2.0, -5.0])).tolist() == [2, 5]


class Waits(TorchDispatchMode):
    """Counts the questions that would wait for a device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.is_nonzero.default,
            torch.ops.aten._to_copy.default,
        )
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device_inside_the_loop():
    """One question more or fewer for each call would show as a number that depends on the steps."""
    counts = []
    for steps in (3, 12):
        with Waits() as watched:
            draw(lambda x, at: 0.001 * x, steps=steps, solver="erk-1")
        counts.append(watched.count)
    assert counts[0] == counts[1]
