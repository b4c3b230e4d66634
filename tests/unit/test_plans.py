"""The plan: what it refuses, what it says of itself, and that text keeps every bit."""

import dataclasses
import json
import math

import numpy as np
import pytest

import seeds
from seeds.plans import CLEAN, Draw, Opening, Plan, Point, Reads, Row, terms
from seeds.predictions import PREDICTIONS

HERE = Point(0.5, 0.8, 0.6)


def plan_of(*rows, draws=1, **options):
    return Plan("mine", HERE, rows, CLEAN, tuple(Draw(float(j), float(j + 1)) for j in range(draws)), **options)


def test_points():
    assert (HERE.nsr, HERE.lam) == (0.6 / 0.8, pytest.approx(math.log(0.8 / 0.6), rel=1e-15))
    assert (Point(1.0, 0.0, 1.0).nsr, Point(1.0, 0.0, 1.0).lam) == (math.inf, -math.inf)
    assert (CLEAN.nsr, CLEAN.lam) == (0.0, math.inf)
    assert Point(0.0, 1e-200, 1e-200).lam == 0 and Point(0.0, 1e200, 1e-200).lam == pytest.approx(400 * math.log(10))


def test_terms_are_collected():
    assert terms([(2, 0.5), (0, 1.0), (2, 0.25), (1, 0.0), (3, 1.0), (3, -1.0)]) == ((0, 1.0), (2, 0.75))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: plan_of(), "needs at least one row"),
    (lambda: plan_of(Row(HERE, x=((1, 1.0),))),
        r"Row 0 \(t = 0.5\) reads x\[1\], but only x\[0\.\.0\] exist when it runs"),
    (lambda: plan_of(Row(HERE), Row(HERE, d=((2, 1.0),))),
        r"Row 1 \(t = 0.5\) reads d\[2\], but only d\[0\.\.1\] exist"),
    (lambda: plan_of(Row(HERE, d=((-1, 1.0),))), r"reads d\[-1\]"),
    (lambda: plan_of(Row(HERE, z=((1, 1.0),))), r"reads z\[1\], but only z\[0\.\.0\] exist"),
    (lambda: plan_of(Row(HERE, z=((0, 1.0),)), draws=0), r"reads z\[0\], but no z exists"),
    (lambda: plan_of(Row(HERE), opening=Opening(1.0, ((1, 1.0),))), r"The opening reads z\[1\]"),
    (lambda: plan_of(Row(HERE), opening=Opening(math.nan)), "The opening scales the start state by nan"),
    (lambda: plan_of(Row(HERE, x=((0, math.nan),))), r"Row 0 \(t = 0.5\) has x\[0\] = nan, which is not finite"),
    (lambda: plan_of(Row(HERE, z=((0, -math.inf),))), r"z\[0\] = -inf"),
    (lambda: plan_of(Row(CLEAN)), "Row 0 asks the model at alpha = 1.0, sigma = 0.0"),
    (lambda: plan_of(Row(Point(0.5, 1.0, math.nan))), "sigma = nan; a model can only be asked where"),
    (lambda: plan_of(Row(Point(0.5, math.nan, 1.0))), "asks the model at alpha = nan"),
])  # fmt: skip
def test_a_plan_that_cannot_run_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


THREE = plan_of(
    Row(HERE, x=((0, 0.5),), d=((0, 0.25),), z=((0, 0.125),), completes=False),
    Row(Point(0.25, 0.9, 0.3), x=((0, 1.5),), d=((0, 1.0), (1, -2.0)), z=((0, 1.0), (1, 1.0))),
    Row(Point(0.125, 1.0, 0.1), d=((2, 1.0),)),
    draws=2,
)


def test_the_text_of_a_part_of_a_run_keeps_what_went_before():
    plan = seeds.plan("seeds-3", steps=5, schedule="vp", start=2)
    again = Plan.from_json(plan.to_json())
    assert again == plan and again.digest == plan.digest and again.before == (6, 6)


def test_what_a_plan_says_of_itself():
    assert (THREE.nfe, THREE.steps) == (3, 2)
    assert THREE.points() == [HERE, Point(0.25, 0.9, 0.3), Point(0.125, 1.0, 0.1), CLEAN]
    assert THREE.readers() == {
        ("x", 0): [0, 1],
        ("d", 0): [0, 1],
        ("z", 0): [0, 1],
        ("d", 1): [1],
        ("z", 1): [1],
        ("d", 2): [2],
    }
    churned = dataclasses.replace(THREE, opening=Opening(1.0, ((0, 0.3),)))
    assert churned.readers()["z", 0] == [-1, 0, 1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        THREE.solver = "other"


def test_memory_is_counted_row_by_row():
    """Row 0: x0, d0, z0 and x1 being made; row 1: x0, d0, z0, x1, d1, z1 and x2; row 2: x2, d2 and the result."""
    assert THREE.memory == 7
    assert plan_of(Row(HERE, x=((0, 1.0),), d=((0, 1.0),))).memory == 3
    assert plan_of(Row(HERE, z=((0, 1.0),))).memory == 4


def combinations(plan, rows):
    """(states, 1 + calls + draws): each state of a run as a combination of the start, the answers and the draws."""
    states = np.zeros((1 + plan.nfe, 1 + plan.nfe + len(plan.draws)))
    states[0, 0] = plan.opening.scale
    for i, row in enumerate([plan.opening, *rows]):
        for part in ("m", "x"):
            states[i] += sum(weight * states[j] for j, weight in getattr(row, part, ()))
        for first, part in ((1, "d"), (1 + plan.nfe, "z")):
            for j, weight in getattr(row, part, ()):
                states[i, first + j] += weight
    return states


@pytest.mark.parametrize("schedule", ["vp", "flow"])
@pytest.mark.parametrize("name", seeds.SOLVERS)
def test_rows_that_read_less_make_the_same_states_whatever_the_model_answers(name, schedule):
    it = seeds.SOLVERS[name]
    for form in (it.forms or PREDICTIONS) if it.interpolates else (None,):
        plan = seeds.plan(name, steps=4, schedule=schedule, prediction=form, **it.noisy)
        states = combinations(plan, plan.rows)
        assert np.abs(combinations(plan, plan.reads) - states).max() <= 1e-12 * np.abs(states).max()


def test_a_stage_is_read_in_the_place_of_the_start_of_its_step_and_of_earlier_draws():
    plan = seeds.plan("seeds-3", steps=2, schedule="vp", final="none")
    assert [[[j for j, _ in part] for part in reads] for reads in plan.reads] == [
        [[], [0], [0], [0]],
        [[1], [], [0, 1], [1]],
        [[2], [], [0, 1, 2], [2]],
        [[], [3], [3], [3]],
        [[4], [], [3, 4], [4]],
        [[5], [], [3, 4, 5], [5]],
    ]
    assert (plan.memory, seeds.plan("seeds-2", steps=2, schedule="vp").memory) == (6, 5)
    assert plan == Plan.from_json(plan.to_json()) and "reads" not in plan.to_json()


@pytest.mark.parametrize("rows", [
    # what a later row would gain in terms it would lose in digits
    [Row(HERE, x=((0, 1e-6),), d=((0, 1.0),), z=((0, 1e-6),), completes=False),
     Row(HERE, x=((0, 1.0),), d=((1, 0.5),), z=((0, 1.0), (1, 0.1)))],
    # the end of a step may be another state by now
    [Row(HERE, x=((0, 0.5),), d=((0, 0.5),), z=((0, 0.2),)), Row(HERE, x=((0, 0.25),), d=((0, 0.25),), z=((0, 0.1),))],
    # no gain, and a weight of nothing
    [Row(HERE, x=((0, 0.5),), d=((0, 0.0),), completes=False), Row(HERE, x=((0, 0.25),), d=((0, 0.5), (1, 0.75)))],
    # no gain
    [Row(HERE, x=((0, 0.5),), d=((0, 0.5),), completes=False), Row(HERE, x=((0, 0.25),), d=((1, 0.75),))],
])  # fmt: skip
def test_rows_are_read_as_written_where_nothing_is_gained_by_another_form(rows):
    plan = plan_of(*rows, draws=2)
    assert plan.reads == tuple(Reads((), row.x, row.d, row.z) for row in rows)


def test_the_table_shows_every_call():
    lines = THREE.table().splitlines()
    assert lines[0] == "mine: 3 model calls, 2 draws, ends at t = 0"
    assert lines[1] == "start  t = 0.5, lam = 0.2877; x0 = 1 x_start + z -"
    assert lines[2].split() == ["call", "t", "lam", "nsr", "x", "d", "z"]
    assert lines[3].split() == ["0", "0.5", "0.2877", "0.75", "0:+0.5", "0:+0.25", "0:+0.125", "stage"]
    assert lines[4].split() == ["1", "0.25", "1.0986", "0.333333", "0:+1.5", "0:+1", "1:-2", "0:+1", "1:+1", "step"]
    assert lines[5].split() == ["2", "0.125", "2.3026", "0.1", "-", "2:+1", "-", "step"] and len(lines) == 6


def test_text_keeps_every_bit_and_the_digest_sees_each():
    plan = seeds.plan("rk-2", steps=4, schedule="flow", S_churn=3.0)
    text = plan.to_json()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))["solver"] == "rk-2"
    again = Plan.from_json(text)
    assert again == plan and again.to_json() == text and again.digest == plan.digest
    assert Plan.from_json(seeds.plan("seeds-2", steps=3, schedule="flow").to_json()).draws[0].lam0 == -math.inf
    row = plan.rows[1]
    nudged = row._replace(d=((row.d[0][0], math.nextafter(row.d[0][1], 9.0)), *row.d[1:]))
    assert dataclasses.replace(plan, rows=(plan.rows[0], nudged, *plan.rows[2:])).digest != plan.digest


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "3", '{"solver": "x"}', seeds.plan("seeds-1", steps=1, schedule="vp").to_json()[:-30]]
)
def test_text_that_is_no_plan_is_named(text):
    with pytest.raises(ValueError, match=r"`text` is not a plan written by Plan\.to_json"):
        Plan.from_json(text)


def test_a_plan_with_wrong_contents_is_refused_when_read():
    it = json.loads(THREE.to_json())
    it["rows"][0]["d"] = [[1, 1.0]]
    with pytest.raises(ValueError, match=r"Row 0 .* reads d\[1\]"):
        Plan.from_json(json.dumps(it))
    it["rows"][0]["d"] = [[0, math.nan]]
    with pytest.raises(
        ValueError, match=r"`text` is not a plan written by Plan\.to_json: it holds NaN, which is no number"
    ):
        Plan.from_json(json.dumps(it))
    for wrong in ("many", [1], [[1, 2, 3]]):
        it["rows"][0]["d"] = wrong
        with pytest.raises(ValueError, match="`text` is not a plan"):
            Plan.from_json(json.dumps(it))


def _set(at, value):
    """The text of THREE with one entry changed, removed (None) or added."""
    it = json.loads(THREE.to_json())
    *path, last = at
    inside = it
    for step in path:
        inside = inside[step]
    if value is None:
        del inside[last]
    else:
        inside[last] = value
    return json.dumps(it)


@pytest.mark.parametrize(("at", "value", "words"), [
    (("rows", 0, "x", 0, 0), 0.5, "0.5 should be a whole number"),
    (("rows", 0, "x", 0, 0), True, "True should be a whole number"),
    (("rows", 0, "x", 0, 1), "0.5", "'0.5' should be a finite number"),
    (("rows", 0, "completes"), 1, "1 should be a bool"),
    (("rows", 0, "completes"), None, r"row 0 has no 'completes'; its keys are at, x, d, z, completes"),
    (("rows", 1, "told"), 2.0, "row 1 has an unknown key 'told'; its keys are at, x, d, z, completes"),
    (("version",), 2, "the plan has an unknown key 'version'; its keys are solver, start"),
    (("format",), 3, "it has format 3, but this version reads formats 1 to 2. Bring seeds up to date"),
    (("format",), "1", "'1' should be a whole number"),
    (("about",), [1], r"\[1\] should be a dict"),
    (("before",), [0.5, 1], "0.5 should be a whole number"),
    (("before",), [-1, 1], "should count from 0"),
    (("start", 2), -math.inf, "it holds -Infinity, which is no number"),
    (("start", 2), 1e400, "it holds Infinity"),
    (("draws", 0, 0), "nan", "'nan' should be a finite number"),
    (("solver",), 3, "3 should be a str"),
    (("rows",), 3, "not iterable"),
])  # fmt: skip
def test_numbers_that_a_plan_never_wrote_are_refused(at, value, words):
    with pytest.raises(ValueError, match=rf"`text` is not a plan written by Plan\.to_json: .*{words}"):
        Plan.from_json(_set(at, value))


def test_two_plans_one_after_the_other():
    """The second's rows, states, answers and draws follow the first's; a noisier start is reached with a draw of its
    own."""
    up = Point(0.7, 0.6, 0.8)
    second = Plan(
        "other", up, (Row(up, x=((0, 0.5),), z=((0, 2.0),)),), CLEAN, (Draw(0.0, 1.0),), Opening(0.5, ((0, 3.0),))
    )
    first = Plan("mine", HERE, THREE.rows[:2], Point(0.25, 0.9, 0.3), THREE.draws)
    both = first.then(second)
    lift = 0.6 * math.sqrt((0.8 / 0.6) ** 2 - (0.3 / 0.9) ** 2)
    assert (both.solver, both.start, both.end, both.nfe, len(both.draws)) == ("mine, other", HERE, CLEAN, 3, 4)
    assert both.rows[0] == first.rows[0] and both.rows[2] == Row(up, x=((2, 0.5),), z=((3, 2.0),))
    assert both.draws[2] == Draw(up.lam, first.end.lam, "churn") and both.points()[2] == up
    folded = [(j, 0.5 * 0.6 / 0.9 * w) for j, w in first.rows[1].z]
    assert both.rows[1].z == (*folded, (2, 0.5 * lift), (3, 3.0)) and both.rows[1].x == ((0, 0.5 * 0.6 / 0.9 * 1.5),)
    with pytest.raises(ValueError, match=r"ends at nsr = 1\.33333, but the second starts at nsr = 0\.75"):
        Plan("mine", HERE, (Row(HERE),), up).then(THREE)
    with pytest.raises(ValueError, match="a noisier, finite level"):
        first.then(seeds.plan("seeds-1", steps=2, schedule="flow"))


@pytest.mark.parametrize("solver", [name for name, it in seeds.SOLVERS.items() if not it.memory])
def test_two_parts_joined_are_the_whole(solver):
    options = {"steps": 5, "schedule": "vp", **seeds.SOLVERS[solver].noisy}
    whole = seeds.plan(solver, **options)
    both = seeds.plan(solver, stop=2, **options).then(seeds.plan(solver, start=2, **options))
    assert both.points() == whole.points() and both.draws == whole.draws and both.before == whole.before
    for a, b in zip(both.rows, whole.rows, strict=True):
        for part in "xdz":
            assert [j for j, _ in getattr(a, part)] == [j for j, _ in getattr(b, part)]
            assert [w for _, w in getattr(a, part)] == pytest.approx([w for _, w in getattr(b, part)], rel=1e-12)


def test_a_step_that_reads_an_earlier_one_is_known():
    for name, it in seeds.SOLVERS.items():
        assert seeds.plan(name, steps=4, schedule="vp", **it.noisy).remembers == it.memory
    middle, last = Point(0.25, 0.9, 0.3), Point(0.125, 1.0, 0.1)
    assert plan_of(Row(HERE, d=((0, 1.0),)), Row(middle, d=((0, -0.5), (1, 1.5)))).remembers, "a two-step method"
    assert plan_of(Row(HERE, d=((0, 1.0),)), Row(middle, x=((0, 1.0),)), Row(last, d=((2, 1.0),))).remembers, (
        "of a state too"
    )
    assert not THREE.remembers, "stages are of the same step"


def test_a_plan_is_a_document(tmp_path):
    """It says how it was made, and is saved whole; what it says changes neither the numbers nor their digest."""
    plan = seeds.plan(
        "seeds-3",
        steps=5,
        schedule="vp",
        eta=[(-math.inf, 0.0), (0.5, 1.0)],
        variant="3b",
        rho=5.0,
        start=("nsr", 2.0),
        prediction="eps",
    )
    assert plan.about == {
        "solver": "seeds-3", "options": {"variant": "3b"}, "prediction": "noise", "eta": [["-inf", 0.0], [0.5, 1.0]],
        "steps": 5, "start": ["nsr", 2.0],
        "schedule": {"name": "VP", "beta_d": 19.9, "beta_min": 0.1, "t_min": 0.001, "t_max": 1.0},
        "grid": {"name": "karras", "rho": 5.0}, "final": "denoise", "s_noise": 1.0, "known levels only": False,
    }  # fmt: skip
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again == plan and again.about == plan.about and hash(again) == hash(plan)
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]
    bare = dataclasses.replace(plan, about={})
    assert bare == plan and bare.digest == plan.digest and json.loads(plan.to_json())["format"] == 1
    older = {key: value for key, value in json.loads(plan.to_json()).items() if key not in ("format", "about")}
    assert Plan.from_json(json.dumps(older)) == plan, "as versions before the format wrote it"
    own = seeds.plan("seeds-1", grid=np.array([0.9, 0.5, 0.1]), schedule="vp", eta=lambda lam: 1.0)
    assert own.about["grid"] == {"t": [0.9, 0.5, 0.1]} and own.about["eta"] == "a function of lam"


def test_a_file_that_is_no_plan_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"x\.json: `text` is not a plan written by Plan.to_json: the plan has no 'before'"
    ):
        Plan.load(tmp_path / "x.json")


@pytest.mark.parametrize("solver", ["seeds-3", "adams", "rk-2"])
@pytest.mark.parametrize(
    ("here", "there"),
    [(seeds.VP(), seeds.EDM()), (seeds.EDM(), seeds.Cosine()), (seeds.Flow(), seeds.Cosine())],
    ids=repr,
)
def test_a_plan_moves_to_another_schedule(solver, here, there):
    """It is the plan of the same levels made there, at SNR 0 too; there and back is where it was."""
    given = {"prediction": "v", "k": 3, "corrector": 3} if solver == "adams" else seeds.SOLVERS[solver].noisy
    t = np.array([here.t_max, *here.t_of_nsr(np.array([9.0, 3.0, 1.0, 0.3, 0.05]))])
    plan = seeds.plan(solver, grid=t, schedule=here, **given)
    moved = plan.on(there)
    nsr = np.array([at.nsr for at in plan.points()])
    assert [at.nsr for at in moved.points()] == pytest.approx(nsr, rel=1e-12) and moved.about["schedule"][
        "name"
    ] == type(there).__name__
    direct = seeds.plan(
        solver, grid=np.array([float(there.t_of_nsr(here.nsr(at))) for at in t]), schedule=there, **given
    )
    for plan_a, plan_b in ((moved, direct), (moved.on(here), plan)):
        for a, b in zip(plan_a.rows, plan_b.rows, strict=True):
            for part in "xdz":
                assert dict(getattr(a, part)) == pytest.approx(dict(getattr(b, part)), rel=1e-9, abs=1e-13)
    assert moved.opening.scale == pytest.approx(direct.opening.scale, rel=1e-12) and moved.draws == plan.draws


def test_a_move_that_cannot_be_is_refused():
    plan = seeds.plan("seeds-1", steps=3, schedule="flow")
    with pytest.raises(ValueError, match="does not reach SNR 0"):
        plan.on(seeds.VP())
    with pytest.raises(ValueError, match=r"'vp' is no schedule: pass an instance, as seeds.VP\(\)"):
        plan.on("vp")
