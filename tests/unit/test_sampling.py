"""The front door: seeds and batches, starts and stops, image-to-image, inpainting, labels, callbacks, and errors that
say the way out."""

import math
import random
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
import torch

import seeds
from seeds.noise import CHURN, gaussian, part_of
from seeds.preconditioners import iDDPM

SHAPE = (1, 4, 4)


def model(x, at, labels=None):
    """The exact denoiser of data N(0.2, 0.3^2), or N(label, 0.3^2)."""
    mean = 0.2 if labels is None else labels.view(-1, 1, 1, 1).to(x.dtype)
    share = at.alpha * 0.09 / (at.alpha**2 * 0.09 + at.sigma**2)
    return mean + share * (x - at.alpha * mean)


def draw(seed, **options):
    options = {"solver": "seeds-2", "steps": 4, "schedule": "vp", **options}
    return seeds.sample(model, SHAPE, seed=seed, **options)


@pytest.mark.parametrize("solver", seeds.SOLVERS)
@pytest.mark.parametrize("noise", ["gaussian", "two-point"])
def test_a_sample_depends_on_its_own_seed_alone(solver, noise):
    options = {"solver": solver, "noise": noise, **seeds.SOLVERS[solver].noisy}
    whole = draw([3, 9, 1 << 63, 5], **options)
    assert torch.equal(whole, draw([3, 9, 1 << 63, 5], batch=3, **options))
    assert torch.equal(whole.flip(0), draw([5, 1 << 63, 9, 3], **options))
    for k, seed in enumerate([3, 9, 1 << 63, 5]):
        assert torch.equal(whole[k : k + 1], draw(seed, **options))
    assert len({row.numpy().tobytes() for row in whole}) == 4


def test_noise_handed_to_the_model_is_bit_equal_in_any_split():
    """With a model that ignores x the state is noise and numbers alone."""

    def states(seed, **options):
        seen = []
        seeds.sample(
            lambda x, at: torch.zeros_like(x),
            SHAPE,
            seed=seed,
            solver="seeds-3",
            steps=3,
            schedule="edm",
            callback=lambda call: seen.append(call.x),
            **options,
        )
        return seen

    whole = states([11, 12, 13])
    for k, seed in enumerate([11, 12, 13]):
        for a, b in zip(whole, states([seed]), strict=True):
            assert torch.equal(a[k : k + 1], b)


def test_seeds_that_differ_above_2_to_the_63_differ():
    assert not torch.equal(draw(1), draw(1 + (1 << 63)))
    assert not torch.equal(draw((1 << 64) - 1), draw((1 << 64) - 2))


def test_no_global_random_state_is_read_or_changed():
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = draw([1, 2])
    after = torch.random.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and np.array_equal(before[1], after[1]) and before[2] == after[2]
    torch.manual_seed(2), np.random.seed(2)  # noqa: NPY002
    assert torch.equal(first, draw([1, 2]))


def test_run_a_b_a_gives_a_again_and_threads_do_not_meet():
    first = draw([1, 2])
    seeds.sample(model, (3, 8, 8), seed=[5], solver="seeds-3", steps=3, schedule="vp")
    assert torch.equal(first, draw([1, 2]))
    found: list = [None] * 8

    def work(k):
        found[k] = draw([1, 2])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert all(torch.equal(one, first) for one in found)


def test_exact_statistics_of_a_gaussian():
    """2,000 samples of 16 numbers: mean 0.2 and variance 0.09 within four standard errors (steps enough for the
    solver's error to be below them)."""
    found = draw(range(2000), steps=100, variant="2b", grid="uniform_lam")
    n = found.numel()
    assert abs(found.mean().item() - 0.2) < 4 * 0.3 / math.sqrt(n)
    assert abs(found.var().item() / 0.09 - 1) < 4 * math.sqrt(2 / n) + 2e-3


def test_the_initial_state_and_image_to_image():
    def first(**options):
        return next(seeds.iterate(model, SHAPE, seed=[7, 8], solver="seeds-3", steps=5, schedule="vp", **options))

    start = seeds.plan("seeds-3", steps=5, schedule="vp").start
    torch.testing.assert_close(first().x, start.sigma * gaussian([7, 8], -1, SHAPE))
    clean = torch.full((2, *SHAPE), 0.5)
    call = first(data=clean, start=("nsr", 0.7))
    assert call.point.nsr == pytest.approx(0.7, rel=1e-12)
    own = gaussian([7, 8], -1, SHAPE, part=part_of(clean))
    torch.testing.assert_close(call.x, call.point.alpha * clean + call.point.sigma * own)
    assert torch.equal(first(data=clean[0], start=("nsr", 0.7)).x, call.x)
    given = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first(x=given, start=2).x, given)
    assert first(x=given, start=2).point == seeds.plan("seeds-1", steps=5, schedule="vp").rows[2].at


@pytest.mark.parametrize("solver", ["seeds-1", "seeds-2", "seeds-3", "rk-2"])
@pytest.mark.parametrize("steps", [4, 5])
def test_stopping_and_going_on_keeps_the_levels(solver, steps):
    """Odd or even, stop and start by index or by level: the two parts visit the levels of the whole."""
    whole = seeds.plan(solver, steps=steps, schedule="edm")
    part = seeds.plan(solver, steps=steps, schedule="edm", stop=2)
    rest = seeds.plan(solver, steps=steps, schedule="edm", start=2)
    assert part.end == rest.start and [row.at for row in (*part.rows, *rest.rows)] == [row.at for row in whole.rows]
    exact = seeds.plan(solver, steps=steps, schedule="edm", stop=("nsr", 1.234))
    assert exact.end.nsr == pytest.approx(1.234, rel=1e-14) and not any(row.at.sigma == 0 for row in exact.rows)
    assert seeds.plan(solver, steps=steps, schedule="edm", start=("lam", 0.0)).start.nsr == 1.0
    assert seeds.plan(solver, steps=steps, schedule="edm", start=("nsr", whole.rows[0].at.nsr)).rows == whole.rows


@pytest.mark.parametrize("solver", [name for name, it in seeds.SOLVERS.items() if not it.memory])
def test_two_parts_of_a_run_are_the_run_to_the_bit(solver):
    """The second part goes on with the draws that the first has not used, a projection's included."""
    options = {"solver": solver, "steps": 5, "schedule": "vp", **seeds.SOLVERS[solver].noisy}

    def project(x, point, draw):
        return x + 0.01 * point.sigma * draw

    # a projection sees the lifted state where there is churn
    for extra in ({},) if options.get("S_churn") else ({}, {"project": project}):
        whole = seeds.sample(model, SHAPE, seed=[3, 4], **options, **extra)
        for k in range(1, 5):
            half = seeds.sample(model, SHAPE, seed=[3, 4], stop=k, **options, **extra)
            rest = seeds.sample(model, SHAPE, seed=[3, 4], x=half, start=k, **options, **extra)
            if seeds.SOLVERS[solver].noisy:  # in one run the lift is folded into the row before it: other roundings
                torch.testing.assert_close(rest, whole)
            else:
                assert torch.equal(rest, whole)


def test_parts_cut_at_an_inserted_level_use_each_draw_once():
    asked = []

    def noise(j, lam0, lam1, shape):
        asked.append(j)
        return gaussian([1], abs(j), shape[1:])

    cut = ("nsr", 0.777)
    half = draw(1, stop=cut, noise=noise)
    draw(1, x=half, start=cut, noise=noise)
    assert len(asked) == len(set(asked)) and sorted(asked) == list(range(-1, len(asked) - 1))


def test_the_users_own_levels_are_used_bit_for_bit():
    t = np.array([0.9, 0.55, 0.3, 0.1])
    plan = seeds.plan("seeds-1", grid=t, schedule="vp")
    assert [row.at.t for row in plan.rows] == t.tolist() and plan.nfe == 4
    sigmas = [14.6, 3.1, 0.5, 0.0]
    plan = seeds.plan("seeds-1", sigmas=sigmas, schedule="edm", steps=2)
    assert [row.at.sigma for row in plan.rows] == sigmas[:-1] and plan.end.sigma == 0
    assert seeds.plan("seeds-1", grid=np.array([1.0, 0.5, 0.0]), schedule="flow").nfe == 2
    assert seeds.plan("seeds-2", sigmas=[3.0, 0.0], schedule="edm").nfe == 1


def test_inpainting_has_the_exact_law_on_the_known_region():
    known, mask = torch.full(SHAPE, 0.9), torch.zeros(SHAPE)
    mask[..., 2:] = 1
    points = []

    def project(x, point, draw):
        points.append(point)
        noised = point.alpha * known + point.sigma * draw
        return mask * x + (1 - mask) * noised

    many = seeds.sample(model, SHAPE, seed=range(500), solver="seeds-3", steps=5, schedule="vp", project=project)
    assert torch.equal(many[..., :2], known[..., :2].expand_as(many[..., :2])), "exact at the end"
    plan = seeds.plan("seeds-3", steps=5, schedule="vp")
    ends = [at for row, at in zip(plan.rows, plan.points()[1:], strict=True) if row.completes]
    assert points == ends, "after each completed step, never on stages"

    seen = []
    seeds.sample(
        model,
        SHAPE,
        seed=range(500),
        solver="seeds-3",
        steps=5,
        schedule="vp",
        project=project,
        callback=lambda call: seen.append((call.point, call.x[..., :2])),
    )
    for point, x in seen[3::3]:
        n = x.numel()
        assert abs(x.mean().item() - 0.9 * point.alpha) < 4 * point.sigma / math.sqrt(n)
        assert abs(x.var().item() / point.sigma**2 - 1) < 4 * math.sqrt(2 / n)


def test_iterate_counts_calls_and_leaving_makes_no_further_one():
    calls = []

    def counting(x, at):
        calls.append(at)
        return model(x, at)

    threads = threading.active_count()
    for item in seeds.iterate(counting, SHAPE, seed=[1, 2], solver="seeds-2", steps=4, schedule="vp"):
        assert item.nfe == len(calls) == item.i + 1 and item.point == calls[-1]
        if item.nfe == 3:
            break
    assert len(calls) == 3
    del item
    assert threading.active_count() == threads
    items = list(seeds.iterate(model, SHAPE, seed=[1, 2], solver="seeds-2", steps=4, schedule="vp"))
    assert len(items) == 9 and torch.equal(items[-1].denoised, draw([1, 2]))
    replay = list(seeds.iterate(model, SHAPE, seed=[1, 2], solver="seeds-2", steps=4, schedule="vp"))
    assert all(torch.equal(a.x, b.x) for a, b in zip(items, replay, strict=True)), "items may be kept"


def test_iterate_leaves_the_callers_gradients_alone():
    one, other = (seeds.iterate(model, SHAPE, seed=1, solver="seeds-3", steps=3, schedule="vp") for _ in range(2))
    next(one), next(other)
    assert torch.is_grad_enabled(), "while the caller holds an item"
    one.close(), other.close()
    assert torch.is_grad_enabled(), "whatever the order in which they end"
    weight = torch.ones(1, requires_grad=True)
    assert not next(
        seeds.iterate(lambda x, at: x * weight, SHAPE, seed=1, solver="seeds-3", steps=3, schedule="vp")
    ).denoised.requires_grad


def test_a_callers_noise_is_asked_with_its_stretch_of_path_and_replays():
    asked = []

    def noise(j, lam0, lam1, shape):
        asked.append((j, lam0, lam1))
        return gaussian([1, 2], j, shape[1:])

    found = draw([1, 2], noise=noise)
    plan = seeds.plan("seeds-2", steps=4, schedule="vp")
    assert torch.equal(found, draw([1, 2])) and asked[0] == (-1, plan.start.lam, plan.start.lam)
    assert asked[1:] == [(j, *plan.draws[j][:2]) for j in range(len(plan.draws))]


def test_labels_reach_the_model_and_are_cut_with_the_batch():
    found = draw([1, 2, 3], labels=[-1, 0, 1], batch=2, steps=30)
    assert [round(row.mean().item()) for row in found] == [-1, 0, 1]
    assert torch.equal(draw([1, 2], labels=1), draw([1, 2], labels=torch.tensor([1, 1])))


def test_a_plan_made_before_is_the_same_run():
    plan = seeds.plan("seeds-3", steps=4, schedule="vp")
    assert torch.equal(seeds.sample(model, SHAPE, seed=1, plan=plan), draw(1, solver="seeds-3"))


def test_rounding_asks_the_network_only_where_it_knows():
    known = np.geomspace(100.0, 0.005, 30)

    def rounding(nsr):
        return known[np.abs(np.log(known)[:, None] - np.log(nsr)).argmin(0)]

    for solver in ("seeds-1", "seeds-2", "seeds-3", "erk-3", "rk-2", "rk-1", "euler-maruyama"):
        for steps in (5, 18, 40):
            plan = seeds.plan(solver, steps=steps, schedule="edm", round_nsr=rounding, **seeds.SOLVERS[solver].noisy)
            asked = np.array([row.at.nsr for row in plan.rows])
            assert np.abs(np.log(asked[:, None] / known)).min(1).max() < 1e-12
            levels = [row.at.nsr for k, row in enumerate(plan.rows) if k == 0 or plan.rows[k - 1].completes]
            assert len(set(levels)) == len(levels), "equal neighbours are merged"


@pytest.mark.parametrize("solver", ["seeds-4", "erk-4"])
def test_stages_that_cannot_move_stay_between_the_levels_that_a_network_knows(solver):
    known = iDDPM()
    plan = seeds.plan(solver, steps=7, schedule="vp", round_nsr=known.round_nsr, nsr_min=known.sigma_min, nsr_max=80.0)
    ends = [row.at for k, row in enumerate(plan.rows) if k == 0 or plan.rows[k - 1].completes]
    assert len(ends) == 8 and plan.nfe == len(plan.rows) == 5 * 7 + 1
    assert np.abs(np.log([[at.nsr] for at in ends] / known.u[:-1].double().numpy())).min(1).max() < 1e-12
    for first, last, step in zip(ends[:-1], ends[1:], range(7), strict=True):
        inside = [row.at.lam for row in plan.rows[5 * step + 1 : 5 * step + 5]]
        assert inside == pytest.approx(
            [first.lam + c * (last.lam - first.lam) for c in (0.5, 0.5, 1.0, 0.5)], rel=1e-12
        )
    nearest = known.round_nsr(np.array([row.at.nsr for row in plan.rows]))
    assert any(abs(row.at.nsr / nsr - 1) > 1e-4 for row, nsr in zip(plan.rows, nearest, strict=True)), (
        "some stages lie between levels"
    )


@pytest.mark.parametrize("solver", ["seeds-4", "erk-4"])
def test_fixed_stages_ask_a_table_network_at_whole_steps(solver):
    """A table is read with the times that the network is given: none lies between two entries, though stages do."""
    table, told = seeds.Discrete.linear(), []

    def network(x, t):
        told.append(float(t[0]))
        return x * float(table.sigma(t[0]))

    wrapped = seeds.wrap(network, "noise", schedule=table)
    calls = list(seeds.iterate(wrapped, SHAPE, seed=1, steps=4, solver=solver))
    assert (
        len(told) == 21 and all(t == int(t) for t in told) and any(call.point.t != int(call.point.t) for call in calls)
    )
    assert [call.point.t == t for call, t in zip(calls, told, strict=True)][::5] == [True] * 5, (
        "steps end at known levels"
    )
    assert torch.isfinite(calls[-1].denoised).all()


@pytest.mark.parametrize(
    "grid", ["karras", "uniform_lam", np.array([1.0, 0.5, 0.1])], ids=["karras", "uniform_lam", "times"]
)
def test_a_start_at_snr_0_that_a_table_does_not_reach_is_refused_before_any_call(grid):
    table, steps = seeds.Discrete.linear(), None if isinstance(grid, np.ndarray) else 4
    wrapped = seeds.wrap(lambda x, t: pytest.fail("the network was called"), "data", schedule=table)
    words = (
        r"begins at SNR 0 \(nsr = inf\), but the network knows levels up to nsr = 157\.407 only.*start=\('nsr', "
        r"157\.407\)"
    )
    with pytest.raises(ValueError, match=words):
        seeds.plan("seeds-2", steps=steps, schedule="flow", grid=grid, round_nsr=table.round_nsr)
    with pytest.raises(ValueError, match=words):
        seeds.sample(wrapped, SHAPE, seed=1, solver="seeds-3", steps=steps, schedule="flow", grid=grid)


@pytest.mark.parametrize("way_out", [{"nsr_max": 157.407}, {"start": ("nsr", 157.407)}])
def test_what_a_start_at_snr_0_is_told_to_do_works(way_out):
    table = seeds.Discrete.linear()
    plan = seeds.plan("seeds-2", steps=4, schedule="flow", round_nsr=table.round_nsr, **way_out)
    assert plan.start.nsr == pytest.approx(table.nsr(999), rel=1e-9)
    assert plan.before.calls == (1 if "start" in way_out else 0), "a part of a run is counted from SNR 0"


@pytest.mark.parametrize(("start", "before"), [(0, 0), (1, 0), (2, 1), (("nsr", 80.4), 0)])
def test_a_start_on_levels_that_a_network_rounds_is_counted_among_the_rounded_ones(start, before):
    """The first two levels are one to the network: a start at either has nothing before it."""
    options = {"schedule": "edm", "sigmas": [80.5, 80.2, 40, 10, 1], "round_nsr": np.floor}
    whole, plan = seeds.plan("seeds-1", **options), seeds.plan("seeds-1", start=start, **options)
    assert (plan.before.calls, plan.nfe) == (before, whole.nfe - before) and plan.rows[0].at == whole.rows[before].at
    seeds.sample(
        lambda x, at: 0.5 * x, SHAPE, seed=1, solver="seeds-1", data=torch.zeros(SHAPE), start=start, **options
    )


def test_a_grids_own_options_decide_whether_it_leaves_the_networks_range():
    wrapped = seeds.wrap(lambda x, t: 0 * x, "data", schedule="edm", nsr_range=(0.002, 80.0))
    for options in ({"beta_d": 5.0}, {"epsilon_s": 0.1, "beta_d": 5.0}):
        asked = {"steps": 5, "grid": "vp", **options}
        assert seeds.plan_for(wrapped, "seeds-1", **asked) == seeds.plan("seeds-1", schedule="edm", **asked)
    assert seeds.plan_for(wrapped, "seeds-1", steps=5, grid="vp", epsilon_s=0.1).start.nsr == 80


def test_a_table_that_reaches_snr_0_starts_there():
    table = seeds.Discrete([0.99, 0.5, 0.1, 0.0])
    plan = seeds.plan("seeds-1", steps=3, schedule="flow", round_nsr=table.round_nsr)
    assert plan.start.alpha == 0 and len(plan.rows) > 1


def test_a_network_that_rounds_to_zero_has_its_clean_end_there():
    """EDM's iDDPM table rounds 0.002 to 0: that level is the clean end, reached by the final denoise."""
    plan = seeds.plan(
        "seeds-1", sigmas=[1.0, 0.5, 0.002], schedule="edm", round_nsr=lambda nsr: np.where(nsr < 0.01, 0.0, nsr)
    )
    assert [row.at.nsr for row in plan.rows] == [1.0, 0.5]


def test_a_denoisers_own_schedule_range_and_rounding_are_used():
    wrapped = seeds.wrap(lambda x, t: x * 0, "data", schedule="edm", nsr_range=(0.01, 40.0))
    points = [call.point for call in seeds.iterate(wrapped, SHAPE, seed=1, solver="seeds-3", steps=3)]
    assert points[0].nsr == 40.0 and points[-1].nsr == 0.01
    points = [call.point for call in seeds.iterate(wrapped, SHAPE, seed=1, solver="seeds-3", steps=3, nsr_max=20.0)]
    assert points[0].nsr == 20.0
    wide = seeds.wrap(lambda x, t: x * 0, "data", schedule="edm", nsr_range=(1e-5, 1e5), round_nsr=np.ceil)
    points = [call.point for call in seeds.iterate(wide, SHAPE, seed=1, solver="seeds-3", steps=3)]
    assert points[0].nsr == 80.0 and all(point.nsr == round(point.nsr) for point in points) and points[-1].nsr == 1
    points = [call.point for call in seeds.iterate(wide, SHAPE, seed=1, solver="seeds-3", steps=3, round_nsr=None)]
    assert points[-1].nsr == 0.002


def test_churn_has_a_stream_of_its_own():
    call = next(seeds.iterate(model, SHAPE, seed=[7, 8], steps=5, schedule="vp", solver="rk-1", S_churn=2.0))
    opening, start = seeds.plan("rk-1", steps=5, schedule="vp", S_churn=2.0).opening, seeds.VP().sigma(1.0)
    state = opening.scale * start * gaussian([7, 8], -1, SHAPE) + opening.z[0][1] * gaussian([7, 8], 0, SHAPE, CHURN)
    torch.testing.assert_close(call.x, state)


@pytest.mark.parametrize("grid", seeds.GRIDS)
def test_no_named_grid_leaves_the_range_of_the_network(grid):
    wrapped = seeds.wrap(lambda x, t: x * 0, "data", schedule="edm", nsr_range=(0.05, 40.0))
    asked = [call.point.nsr for call in seeds.iterate(wrapped, SHAPE, seed=1, solver="seeds-3", steps=4, grid=grid)]
    assert 40.0 * (1 + 1e-9) >= asked[0] and 0.05 * (1 - 1e-9) <= min(asked)
    assert (asked[0] > 30 or grid == "ays") and (min(asked) < 0.07 or grid in ("ays", "sgm_uniform")), (
        "but reaches its ends"
    )


def test_a_function_eta_that_overflows_is_named():
    with pytest.raises(ValueError, match="`eta`, a function, fails at lam = "):
        seeds.plan("seeds-1", steps=3, schedule="flow", eta=lambda lam: math.exp(math.exp(-0.3 * lam)) ** 2 * 0.0)


def test_nan_is_found_once_and_named():
    with pytest.raises(FloatingPointError, match=r"samples of 1 of 3 seeds \(5\) are NaN or inf.*check_model"):
        seeds.sample(
            lambda x, at: torch.where(torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1, 1) > 0, torch.nan, x),
            SHAPE,
            seed=[4, 5, 6],
            solver="seeds-3",
            steps=2,
            schedule="vp",
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_state_keeps_its_dtype_and_sees_the_same_noise(dtype):
    found = draw([1, 2], dtype=dtype)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), draw([1, 2]), rtol=0.1, atol=0.1)


def test_eta_tables_and_callables_end_as_numbers():
    table = seeds.plan("seeds-2", steps=6, schedule="edm", eta=[(-math.inf, 0.0), (0.0, 1.0)])
    assert 0 < len(table.draws) < 12 and all(draw.lam1 > 0 for draw in table.draws)
    called = seeds.plan("seeds-2", steps=6, schedule="edm", eta=lambda lam: 1.0)
    for a, b in zip(called.rows, seeds.plan("seeds-2", steps=6, schedule="edm").rows, strict=True):
        assert np.allclose(a.d, b.d, rtol=1e-12, atol=1e-15) and np.allclose(a.z, b.z, rtol=1e-12, atol=1e-15)
    assert seeds.Plan.from_json(called.to_json()) == called


WRONG = [
    ({"solver": "seed-3"}, r"There is no solver 'seed-3'. Did you mean 'seeds-3'"),
    ({"solver": "erk-2", "eta": 1.0}, r"`eta` = .* makes noise, but erk-2 solves the ODE.*Use seeds-2"),
    ({"solver": "rk-2", "eta": 0.5}, r"rk-2 solves the ODE.*S_churn"),
    ({"solver": "rk-2", "prediction": "noise"}, "means nothing to rk-2"),
    ({"eta": -1.0}, "`eta` must be a number from 0"),
    ({"eta": [(0.0, 1.0)]}, "`eta` as a table must start at lam_from = -inf"),
    ({"steps": 0}, "`steps` = 0 must be a whole number, at least 1"),
    ({"steps": None}, "`steps` is missing"),
    ({"grid": "karas"}, "Did you mean 'karras'"),
    ({"schedule": "edn"}, "Did you mean 'edm'"),
    ({"schedule": None}, "`schedule` is missing, and the denoiser has none"),
    ({"prediction": "velocity"}, "There is no prediction 'velocity'"),
    ({"final": "stop"}, "`final` must be 'denoise' or 'none'"),
    ({"grid": np.array([0.1, 0.5]), "steps": None},
        r"`grid` must fall.*grid\[0\] = 0.1 is followed by grid\[1\] = 0.5.*pass grid\[::-1\]"),
    ({"sigmas": [1.0, 2.0], "steps": None}, r"sigmas\[0\] = 1 is followed by sigmas\[1\] = 2"),
    ({"sigmas": [2.0, 1.0], "steps": 7}, "`steps` = 7, but the grid given has 2 levels"),
    ({"sigmas": [2.0, 0.0], "steps": None, "final": "none"}, "clean level, which only final=\"denoise\" reaches"),
    ({"start": 9}, "`start` = 9 is not in the grid"),
    ({"start": ("sigma", 1.0)}, r"`start` as a level is \('nsr', value\)"),
    ({"start": ("nsr", 0.1), "stop": ("nsr", 3.0)}, "`start`.*lies behind `stop`"),
    ({"r": 1.5}, r"`r` of a two-stage method must be in \(0, 1\], but is 1.5"),
    ({"variant": "2c"}, "`variant` must be one of 2a, 2b"),
    ({"rho": 0.0}, "`rho` = 0.0 must be a finite number above 0"),
    ({"solver": "euler-maruyama", "S_churn": 3.0}, "`S_churn` = 3.0 is no option of euler-maruyama"),
    ({"S_churn": -3.0}, "`S_churn`, `S_min` and `S_max` must be at least 0, but are -3.0"),
    ({"stages": "none"}, "`stages` must be .known. or .free., but is .none."),
    ({"s_noise": -1.0}, "`s_noise` must be a finite number >= 0"),
    ({"noise": "pink"}, "There is no noise 'pink'"),
    ({"seed": -1}, "`seed` = -1 must be at least 0"),
    ({"seed": []}, "`seed` is empty"),
    ({"batch": 0}, "`batch` must be a whole number, at least 1, but is 0"),
    ({"batch": 2.0}, "`batch` must be a whole number, at least 1, but is 2.0"),
    ({"eta": [1.0, 0.0]}, r"`eta` must be a number, a table \[\(lam_from, eta\), ...\] or a callable of lam, but is "
                          r"\[1.0, 0.0\]"),
    ({"start": 1.5}, r"`start` is a grid index, or a level \('nsr', value\) or \('lam', value\), but is 1.5"),
    ({"stop": ("nsr", "low")}, "`stop` = .* is not a noise level: its value must be a number"),
    ({"solver": "seeds-3", "r": 0.5}, r"`r` of a three-stage method must be \(r1, r2\) each in \(0, 1\], but is 0.5"),
    ({"r": (0.3, 0.6)}, "`r` of a two-stage method must be in"),
    ({"solver": "rk-2", "r": (0.3, 0.6)}, "`r` of rk-2 must be in"),
    ({"sigmas": 3.0, "steps": None}, "`sigmas` must be a row of at least 2 numbers, noisiest first, but is 3.0"),
    ({"sigmas": [3.0, 0.0], "steps": 5}, "`steps` = 5, but one level and the clean end make no step"),
    ({"grid": ["a"], "steps": None}, "`grid` must be a row of at least 2 numbers"),
    ({"round_nsr": lambda nsr: None}, "`round_nsr` made .* each a number that is at least 0"),
    ({"round_nsr": lambda nsr: 1 / nsr}, "`round_nsr` made .* must not change their order"),
    ({"solver": "rk-2", "variable": "t", "schedule": seeds.Discrete.linear()},
        "`variable` = 't' follows the slope of the schedule, but a table has none"),
    ({"solver": "rk-2", "S_churn": 40, "schedule": seeds.Discrete.linear()},
        r"and churn off above it \(S_max\), or pass round_nsr"),
    ({"dtype": torch.int64}, "`dtype` = torch.int64 must be a floating point dtype"),
    ({"plan": "seeds-3", "steps": None, "schedule": None}, "`plan` must be a Plan, .* but is a str"),
    ({"data": torch.zeros(SHAPE, dtype=torch.uint8)},
        r"`data` is torch.uint8: give floating point numbers in the scale of the model's data"),
    ({"noise": lambda j, lam0, lam1, shape: torch.zeros(3)},
        r"`noise` returned shape \(3,\) for draw -1, but must .* \(1, 1, 4, 4\)"),
    ({"noise": lambda j, lam0, lam1, shape: None}, "`noise` returned type NoneType for draw -1"),
    ({"project": lambda x, point, draw: None},
        "replacement of the state is a NoneType, not a tensor. A projection returns"),
    ({"x": torch.zeros(3, 1, 4, 4)}, r"`x` has shape \(3, 1, 4, 4\), but 1 seeds of shape \(1, 4, 4\) need \(1, 1, 4, "
                                     r"4\)"),
    ({"x": torch.zeros(1, 1, 4, 4), "data": torch.zeros(SHAPE)}, "exclude each other"),
    ({"labels": [1, 2]}, "`labels` has 2 entries for 1 seeds"),
    ({"sd": 0.7}, "`sd` = 0.7 is of prediction='edm_raw', but `prediction` is 'data'"),
    ({"plan": seeds.plan("seeds-1", steps=2, schedule="vp")},
        "`plan` already fixes the run, but `solver` is given too"),
    ({"plan": seeds.plan("seeds-1", steps=2, schedule="vp"), "solver": None}, "but `steps` is given too"),
    ({"mask": torch.ones(4, 4)}, "`mask` is no argument here. Inpainting is `project=`"),
    ({"generator": torch.Generator()}, "`generator` is no argument here. Noise comes from `seed=` alone"),
    ({"guidance": 3.0}, r"`guidance` is no argument here. Guide the denoiser: seeds.sample\(seeds.guide\(denoiser, "
                        r"3.0\)"),
    ({"sigma_max": 10.0}, "`sigma_max` is no argument here. Say nsr_max="),
    ({"latents": torch.zeros(4, 2)}, "`latents` is no argument here. A state is x=, with start="),
    ({"negative_prompt": "x"}, r"`negative_prompt` is no argument here. .*seeds.guide\(denoiser, 3.0, null="),
    ({"guidance_scale": 3.0}, "`guidance_scale` is no argument here. Guide the denoiser"),
    ({"strength": 0.5}, r"`strength` is no argument here. .* start=\('nsr', 2.0\)"),
    ({"mask": 1, "plan": seeds.plan("seeds-1", steps=2, schedule="vp")}, "`mask` is no argument here"),
    ({"device": "meta"}, "`device` is 'meta', which holds shapes without numbers"),
    ({"device": "cuda:99"}, "`device` = 'cuda:99' is not available here. Available: cpu"),
    ({"device": "gpu"}, "`device` = 'gpu' is no device of torch's, as 'cpu', 'cuda' or 'mps'"),
    ({"labels": {"text": torch.zeros(2, 3)}}, r"`labels`\['text'\] has 2 rows for 1 seeds: give one for each"),
    ({"labels": (torch.zeros(1, 3), {"a": [1, 2, 3]})}, r"`labels`\[1\]\['a'\] has 3 rows for 1 seeds"),
]  # fmt: skip


@pytest.mark.parametrize(
    "schedule", [np.linspace(0.9, 0.1, 5), torch.linspace(0.9, 0.1, 5), [0.9, 0.5, 0.1], (0.9, 0.5)]
)
def test_a_table_given_as_a_schedule_is_told_where_it_goes(schedule):
    with pytest.raises(
        TypeError,
        match=rf"`schedule` is a row of {len(schedule)} numbers: a table goes in as seeds.Discrete\(alphas_cumprod\)",
    ):
        seeds.sample(model, SHAPE, seed=1, solver="seeds-3", steps=2, schedule=schedule)


class Prompt(NamedTuple):
    text: torch.Tensor
    pooled: torch.Tensor


TEXT = torch.arange(12.0).view(3, 4)


@pytest.mark.parametrize("labels", [
    {"text": TEXT, "pooled": TEXT[:, 0]}, (TEXT, TEXT[:, 0]), Prompt(TEXT, TEXT[:, 0]),
    OrderedDict(text=TEXT, pooled=TEXT[:, 0]),
    {"inner": (TEXT, {"mask": TEXT > 3}), "time": [1, 2, 3], "array": np.ones((3, 2)), "scale": torch.tensor(7.0),
        "word": "day", "none": None},
])  # fmt: skip
def test_several_conditions_keep_their_kind_and_are_cut_with_the_batch(labels):
    seen = []

    def conditional(x, at, labels):
        seen.append(labels)
        return 0.001 * x

    seeds.sample(
        conditional,
        SHAPE,
        seed=[1, 2, 3],
        solver="seeds-1",
        steps=1,
        schedule="vp",
        labels=labels,
        batch=2,
        device="cpu",
    )
    first, last = seen[0], seen[-1]
    assert type(first) is type(labels) and len(seen) == 4
    if not isinstance(labels, tuple) and "inner" in labels:
        assert (
            torch.equal(last["inner"][0], TEXT[2:])
            and last["inner"][1]["mask"].dtype == torch.bool
            and first["time"].tolist() == [1, 2]
        )
        assert (
            first["array"].dtype == torch.float32
            and last["scale"] == 7
            and (last["word"], last["none"]) == ("day", None)
        )
    else:
        text, pooled = labels.keys() if not isinstance(labels, tuple) else (0, 1)
        assert (
            torch.equal(first[text], TEXT[:2])
            and torch.equal(last[text], TEXT[2:])
            and torch.equal(last[pooled], TEXT[2:, 0])
        )


@pytest.mark.parametrize("shape", [4, (2.5,), (-1, 2), "ab"])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match="`shape` must be the sizes of one sample, without the batch"):
        seeds.sample(model, shape, seed=1, solver="seeds-3", steps=2, schedule="vp")


def test_a_callback_sees_each_batch_and_may_keep_what_it_sees():
    seen = []
    draw([1, 2, 3, 4, 5], solver="seeds-3", batch=2, callback=seen.append)
    assert [len(call.x) for call in seen[:: len(seen) // 3]] == [2, 2, 1]
    alone = list(seeds.iterate(model, SHAPE, seed=[1, 2], solver="seeds-3", steps=4, schedule="vp"))
    assert len(seen) == 3 * len(alone) and all(torch.equal(a.x, b.x) for a, b in zip(seen, alone, strict=False))


def test_numbers_may_come_from_numpy_and_torch():
    assert (
        torch.equal(draw(np.int64(3)), draw(3))
        and torch.equal(draw(torch.tensor(3)), draw(3))
        and torch.equal(draw(np.array(3)), draw(3))
    )
    assert torch.equal(draw(np.arange(2)), draw([0, 1])) and torch.equal(draw(torch.arange(2)), draw(range(2)))
    assert torch.equal(draw([1, 2], labels=np.array([0, 1], np.int32)), draw([1, 2], labels=[0, 1]))
    plan = seeds.plan("seeds-2", sigmas=[3.0, 1.0, 0.0], schedule="edm", eta=0.5)
    assert (
        seeds.plan(
            "seeds-2", sigmas=torch.tensor([3.0, 1.0, 0.0]), schedule="edm", eta=np.float32(0.5), start=np.int64(0)
        )
        == plan
    )
    assert seeds.plan("seeds-2", grid=torch.tensor([3.0, 1.0, 0.0]), schedule="edm", eta=torch.tensor(0.5)) == plan
    clean = np.full(SHAPE, 0.5, np.float32)
    assert torch.equal(draw([1, 2], data=clean, start=2), draw([1, 2], data=torch.from_numpy(clean), start=2))


def test_labels_are_handed_on_as_the_denoiser_is_promised_them():
    seen = []

    def labelled(x, at, labels):
        seen.append(labels)
        return x * 0.5

    for labels in (np.array([1, 2], np.int32), 1, np.eye(2)):
        seeds.sample(labelled, SHAPE, seed=[1, 2], solver="seeds-1", steps=1, schedule="vp", labels=labels)
    assert [(it.dtype, tuple(it.shape)) for it in seen[::2]] == [
        (torch.int64, (2,)),
        (torch.int64, (2,)),
        (torch.float32, (2, 2)),
    ]


def test_a_projections_own_noise_is_gaussian_whatever_the_solvers_is():
    seen = []
    draw([1, 2], noise="two-point", project=lambda x, point, own: seen.append(own) or x)
    assert len(seen) == 5 and all(len(own.unique()) > 2 for own in seen)


@pytest.mark.parametrize(
    ("options", "words"), WRONG, ids=[str(list(options)) + str(k) for k, (options, _) in enumerate(WRONG)]
)
def test_bad_input_gets_one_clear_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        draw(**{"seed": 1, **options})
