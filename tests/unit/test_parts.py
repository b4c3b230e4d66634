"""Runs that begin with the result of another, under one seed: their noise is independent, and the same call gives the
same bits in any batch."""

import math

import numpy as np
import pytest
import torch

import seeds
from seeds.exact import Gaussian
from seeds.noise import gaussian, part_of
from seeds.solvers import Orders
from trials.chained import image_to_image, one_plan, parts, repaint

SHAPE = (1, 4, 4)
SEEDS = range(256)  # 16,384 values of trials.chained: their variance is known to 1.1 %


def model(x, at):
    return at.alpha / (at.alpha**2 + at.sigma**2) * x


def draw(seed, **options):
    return seeds.sample(model, SHAPE, seed=seed, **{"solver": "seeds-2", "steps": 4, "schedule": "edm", **options})


def given(count=3):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("solver", ["seeds-1", "seeds-2", "seeds-3"])
@pytest.mark.parametrize(
    ("make", "rounds"),
    [(parts, {}), (image_to_image, {"rounds": 3}), (repaint, {"passes": 4}), (one_plan, {"passes": 3})],
)
def test_what_follows_has_the_variance_of_independent_noise(make, rounds, solver):
    """Of 16,384 values: within four standard errors of what the same plans give with independent noise. Shared noise
    makes it 1.2 to 3.6 times that."""
    for what, k, measured, right in (
        make(SEEDS, solver=solver, eta=1.0, steps=8, **rounds)
        if make is not parts
        else make(SEEDS, solver=solver, eta=1.0)
    ):
        assert abs(measured / right - 1) < 4 * math.sqrt(2 / (64 * len(SEEDS))), (
            f"{what} {k}: {measured:.3f}, right is {right:.3f}"
        )


@pytest.mark.parametrize(
    "how", [{"data": given(), "start": ("nsr", 0.7)}, {"x": given(), "sigmas": [1.0, 0.5, 0.1], "steps": None}]
)
def test_a_part_of_its_own_is_the_same_in_any_batch_and_order(how):
    how = dict(how)
    name = "x" if "x" in how else "data"
    value = how.pop(name)
    whole = draw([3, 9, 5], **{name: value}, **how)
    assert torch.equal(whole, draw([3, 9, 5], batch=2, **{name: value}, **how))
    assert torch.equal(whole.flip(0), draw([5, 9, 3], **{name: value.flip(0)}, **how))
    for k, seed in enumerate([3, 9, 5]):
        assert torch.equal(whole[k : k + 1], draw(seed, **{name: value[k : k + 1]}, **how))
    assert torch.equal(whole, draw([3, 9, 5], **{name: value}, part=part_of(value), **how)), "the default is part_of"
    other = value.clone()
    other[1, 0, 0, 0] = torch.nextafter(other[1, 0, 0, 0], torch.tensor(9.0))
    changed = draw([3, 9, 5], **{name: other}, **how)
    assert torch.equal(changed[::2], whole[::2]) and (changed[1] - whole[1]).abs().max() > 0.1, (
        "one bit of an image is another part, for it alone"
    )
    assert not torch.equal(whole, draw([3, 9, 5], **{name: value}, part=0, **how))


def test_one_clean_image_for_all_seeds_is_one_part():
    image = given(1)[0]
    alone = draw([1, 2], data=image, start=("nsr", 1.0))
    assert torch.equal(alone, draw([1, 2], data=torch.stack([image, image]), start=("nsr", 1.0))) and not torch.equal(
        alone[0], alone[1]
    )
    double = draw([1, 2], data=image.double(), start=("nsr", 1.0), dtype=torch.float64)
    torch.testing.assert_close(double.float(), alone)


def test_image_to_image_in_two_parts_is_one_when_told_the_part():
    image = given()
    whole = draw([1, 2, 3], data=image, start=1)
    half = draw([1, 2, 3], data=image, start=1, stop=3)
    assert torch.equal(draw([1, 2, 3], x=half, start=3, part=part_of(image)), whole)
    assert not torch.equal(draw([1, 2, 3], x=half, start=3), whole), "part 0 is of the run from noise"


def test_a_plan_made_before_goes_on_where_it_begins_inside_a_whole():
    half, rest = draw([1, 2], stop=2), seeds.plan("seeds-2", steps=4, schedule="edm", start=2)
    assert torch.equal(seeds.sample(model, SHAPE, seed=[1, 2], x=half, plan=rest), draw([1, 2]))
    levels = seeds.plan("seeds-2", sigmas=[1.0, 0.1], schedule="edm")
    own = seeds.sample(model, SHAPE, seed=[1, 2], x=half, plan=levels)
    assert torch.equal(own, seeds.sample(model, SHAPE, seed=[1, 2], x=half, plan=levels, part=part_of(half)))


def test_every_draw_of_a_part_is_of_that_part():
    """The initial one, the path's, churn's and a projection's."""
    asked = []
    first = next(seeds.iterate(model, SHAPE, seed=[7, 8], solver="seeds-3", steps=3, schedule="edm", part=[5, 6]))
    torch.testing.assert_close(first.x, 80 * gaussian([7, 8], -1, SHAPE, part=[5, 6]))
    for options in ({}, {"solver": "rk-2", "S_churn": 4.0}, {"noise": "two-point"}):
        mine = [
            draw([7, 8], part=part, project=lambda x, at, z: asked.append(z) or x, **options) for part in (0, 5, [0, 5])
        ]
        assert (
            torch.equal(mine[2][0], mine[0][0])
            and torch.equal(mine[2][1], mine[1][1])
            and not torch.equal(mine[0], mine[1])
        )
    assert torch.equal(asked[5], gaussian([7, 8], 2, SHAPE, 0, part=5)), (
        "after call 1, the first step's second, in the second run"
    )


def test_another_pass_that_does_not_say_which_is_warned_of():
    x = given()
    with pytest.warns(UserWarning, match=r"`x`, `start` and `stop` together go on.*part=0 goes on, part=1, 2"):
        unsaid = draw([1, 2, 3], x=x, start=1, stop=3)
    assert torch.equal(unsaid, draw([1, 2, 3], x=x, start=1, stop=3, part=0))
    assert not torch.equal(unsaid, draw([1, 2, 3], x=x, start=1, stop=3, part=1))


def test_a_solver_that_remembers_says_that_its_parts_are_not_the_whole():
    def build(write, levels, prediction, eta):
        for k, (_, to) in enumerate(levels.steps):
            write.row(to, d={k: to.alpha} if k == 0 else {k: 1.5 * to.alpha, k - 1: -0.5 * to.alpha})

    two_step = seeds.Solver("two-step", build, Orders(2, None), memory=True)
    plan = seeds.plan(two_step, steps=4, schedule="edm", start=1)
    assert plan.remembers
    with pytest.warns(UserWarning, match=r"two-step reads answers of earlier steps.*not the whole run.*Stepper.save"):
        seeds.sample(model, SHAPE, seed=1, x=given(1), plan=plan)


@pytest.mark.parametrize(
    ("part", "words"),
    [(-1, "`part` = -1 must be at least 0 and below"), ([1, 2, 3], "`part` has 3 numbers for 2 seeds")],
)
def test_a_wrong_part_is_named(part, words):
    with pytest.raises(ValueError, match=words):
        draw([1, 2], part=part)


def test_a_noise_function_is_told_for_whom_it_draws():
    asked = []

    def told(j, lam0, lam1, shape, *, seeds, part):
        asked.append((j, seeds, part))
        return gaussian(seeds, max(j, -1), shape[1:], part=part)

    assert torch.equal(draw([3, 4, 5], noise=told), draw([3, 4, 5])) and asked[0] == (-1, (3, 4, 5), (0, 0, 0))
    assert torch.equal(draw([3, 4, 5], noise=told, batch=2), draw([3, 4, 5])) and asked[-1][1:] == ((5,), (0,))
    image = given()
    assert torch.equal(draw([3, 4, 5], noise=told, data=image, start=2), draw([3, 4, 5], data=image, start=2))
    assert asked[-1][2] == tuple(part_of(image))
    everything = lambda j, lam0, lam1, shape, **told: gaussian(told["seeds"], j, shape[1:])  # noqa: E731
    assert torch.equal(draw([3, 4, 5], noise=everything, batch=2), draw([3, 4, 5]))


def test_a_noise_function_that_is_not_told_may_not_repeat_itself():
    def pure(j, lam0, lam1, shape):
        return torch.randn(shape, generator=torch.Generator().manual_seed(j + 10))

    with pytest.raises(
        ValueError, match=r"`noise` returned the same draw -1 for two batches.*noise\(draw, lam0, lam1, shape, seeds\)"
    ):
        draw([3, 4, 5], noise=pure, batch=2)
    with pytest.raises(ValueError, match="`noise` returned the same draw 0 for two batches"):
        draw([3, 4, 5], x=given(), noise=pure, batch=2)
    draw([3, 4, 5], noise=pure), draw([3, 4, 5], noise=pure, batch=3)
    generator = torch.Generator().manual_seed(1)  # goes on from batch to batch: right
    draw([3, 4, 5, 6], noise=lambda j, lam0, lam1, shape: torch.randn(shape, generator=generator), batch=2)


# a start for each image


@pytest.mark.parametrize("start", [
    ("nsr", torch.tensor([0.5, 2.0, 0.5])), ("nsr", [0.5, 2.0, 0.5]), ("lam", -np.log([0.5, 2.0, 0.5])),
    [("nsr", 0.5), ("nsr", 2.0), ("nsr", 0.5)], (1, 3, 1), np.array([1, 3, 1]),
])  # fmt: skip
@pytest.mark.parametrize("batch", [None, 1, 2])
def test_each_image_begins_at_its_own_level_and_is_the_run_alone(start, batch):
    image, seen = given(), []
    found = draw([3, 9, 5], data=image, start=start, batch=batch, callback=seen.append)
    for k, seed in enumerate([3, 9, 5]):
        own = (start[0], float(start[1][k])) if isinstance(start[0], str) else start[k]
        assert torch.equal(found[k : k + 1], draw(seed, data=image[k], start=own))
    assert {call.seeds for call in seen} == ({(3, 5), (9,)} if batch != 1 else {(3,), (5,), (9,)})


def test_a_start_for_each_image_takes_states_labels_and_conditions_with_it():
    def mean(x, at, labels):
        return (labels["mean"] if isinstance(labels, dict) else labels.to(x)).view(-1, 1, 1, 1) + 0 * x

    for labels in ([1, 2, 3], {"mean": torch.tensor([1.0, 2.0, 3.0])}):
        found = seeds.sample(
            mean,
            SHAPE,
            seed=[1, 2, 3],
            x=given(),
            labels=labels,
            solver="seeds-3",
            steps=4,
            schedule="edm",
            start=[2, 1, 2],
        )
        assert found[:, 0, 0, 0].tolist() == [1, 2, 3]
    same = draw([1, 2], data=given(2), start=[2, 2])
    assert torch.equal(same, draw([1, 2], data=given(2), start=2))


@pytest.mark.parametrize(("start", "words"), [
    (("nsr", [0.5, 1.0]), "`start` has 2 places for 3 seeds: give one for each"),
    ([("nsr", 0.5), ("nsr", -1.0), ("nsr", 0.5)], "is not a noise level"),
    ([("nsr", 0.5), 99, 1], "`start` = 99 is not in the grid"),
    ([("nsr", 0.5), "half", 1], "`start` is a grid index, or a level"),
])  # fmt: skip
def test_wrong_starts_are_named(start, words):
    with pytest.raises(ValueError, match=words):
        draw([1, 2, 3], data=given(), start=start)


def test_iterate_runs_one_level():
    with pytest.raises(ValueError, match="`start` has a level for each image, but `iterate` runs one plan"):
        seeds.iterate(model, SHAPE, seed=[1, 2], data=given(2), start=[1, 2], solver="seeds-3", steps=4, schedule="edm")


def test_joined_plans_are_repaint_in_one_run():
    """Down, up with fresh noise and down again: every step is projected, the calls are counted, and the law is
    right."""
    how = {"steps": 4, "schedule": "edm", "grid": "uniform_lam"}
    down, again = (
        seeds.plan("seeds-2", stop=("nsr", 0.5), **how),
        seeds.plan("seeds-2", start=("nsr", 2.0), stop=("nsr", 0.5), **how),
    )
    plan = down.then(again).then(again).then(seeds.plan("seeds-2", start=("nsr", 0.5), **how))
    known, levels = torch.full(SHAPE, 0.5), []

    def project(x, point, draw):
        levels.append(point.nsr)
        return torch.cat([x[..., :2], (point.alpha * known + point.sigma * draw)[..., 2:]], -1)

    found = seeds.sample(
        Gaussian(0.0, 1.0, shape=SHAPE, schedule=seeds.EDM()), SHAPE, seed=range(4), plan=plan, project=project
    )
    assert torch.equal(found[..., 2:], known[..., 2:].expand(4, 1, 4, 2)) and len(levels) == plan.steps
    assert sum(nsr == pytest.approx(2.0) for nsr in levels) == 2, (
        "a jump's level is projected where the state is noised up"
    )
