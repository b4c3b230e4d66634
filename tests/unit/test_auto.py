"""The default: a rule from the number of calls to a plan. Its numbers are seeds/auto.py's alone; here is what holds
whatever they are."""

import itertools
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import seeds
from seeds import auto
from seeds.laws import LAWS, Subject, constant_error, path_error
from seeds.laws.responses import Gaussians, mixture_denoiser, states
from seeds.planning import request_for
from seeds.plans import Before, Plan
from seeds.predictions import PREDICTIONS
from seeds.variables import power_of

SHAPE = (2,)
FEW = (1, 2, 3, 4, 5, 6, 10, 20, 50)
TABLE = seeds.Discrete.linear()


def model(x, at):
    return 0.3 / math.hypot(at.alpha, at.sigma) * x


# -- the rule ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aim", auto.AIMS)
def test_a_setting_is_a_row_or_lies_between_two(aim):
    rows = auto.RULE[aim]
    assert auto.setting(1, aim) == auto.setting(rows[0][0], aim) == rows[0][1], "below the first row, that row"
    assert auto.setting(10**6, aim) == rows[-1][1]
    for (calls, here), (later, there) in itertools.pairwise(rows):
        assert auto.setting(calls, aim) == here and calls < later
        for nfe in range(calls + 1, later):
            chosen = auto.setting(nfe, aim)
            for end in ("nsr_min", "nsr_max", "finish"):
                low, high = sorted((getattr(here, end), getattr(there, end)))
                assert low <= getattr(chosen, end) * (1 + 1e-12) and getattr(chosen, end) <= high * (1 + 1e-12)
            assert replace(chosen, nsr_min=here.nsr_min, nsr_max=here.nsr_max, finish=here.finish) == here


def test_there_are_two_aims_and_no_other():
    assert tuple(auto.RULE) == auto.AIMS
    assert (
        seeds.plan(schedule="edm")
        == seeds.plan("auto", schedule="edm", nfe=20, aim="law")
        != seeds.plan(schedule="edm", aim="accuracy")
    )
    with pytest.raises(ValueError, match="There is no aim 'best'"):
        seeds.plan(schedule="edm", aim="best")
    with pytest.raises(ValueError, match="`aim` = 'law' is of the default, solver='auto', but `solver` is 'seeds-3'"):
        seeds.plan("seeds-3", schedule="edm", steps=3, aim="law")


# -- the number of calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", ["vp", "ve", "edm", "flow", TABLE], ids=lambda it: it if isinstance(it, str) else "table"
)
@pytest.mark.parametrize("how", [
    {}, {"aim": "accuracy", "prediction": "v"}, {"start": ("nsr", 2.0)}, {"final": "none"},
    {"start": ("lam", 0.0), "stop": ("nsr", 0.1)}, {"start": ("nsr", 0.05)}, {"grid": "ays", "start": ("nsr", 1.0)},
    {"grid": "karras", "prediction": "flow"},
])  # fmt: skip
def test_the_calls_asked_for_are_made(schedule, how):
    """After a start, to a stop, on other grids and on levels that a network knows too; every level is another, and the
    plan begins where it should."""
    rounding = TABLE.round_nsr if schedule is TABLE else None
    low = how.get("start") == ("nsr", 0.05)
    for nfe in (1, 2, 5) if low and rounding is not None else (1, 2, 5, 20):
        made = seeds.plan(schedule=schedule, nfe=nfe, round_nsr=rounding, **how)
        nsr = [row.at.nsr for row in made.rows]
        assert made.nfe == nfe and nsr == sorted(set(nsr), reverse=True)
        if how.get("start", ("lam",))[0] == "nsr" and rounding is None:
            assert made.start.nsr == pytest.approx(how["start"][1], rel=1e-12)
        if "stop" in how and rounding is None:
            assert made.end.nsr == pytest.approx(0.1, rel=1e-12)
        if rounding is not None:
            np.testing.assert_allclose(rounding(np.array(nsr)), nsr, rtol=1e-12)


def test_fewer_calls_are_said_where_there_are_no_more_levels():
    def coarse(nsr):
        return 2.0 ** np.round(np.log2(nsr))

    known = int(math.log2(auto.setting(50).nsr_max)) - math.ceil(math.log2(auto.setting(50).nsr_min))
    with pytest.warns(UserWarning, match=r"`nfe` = 50, but \d+ calls are made: there are no more levels"):
        made = seeds.plan(schedule="edm", nfe=50, round_nsr=coarse)
    assert known <= made.nfe <= known + 3
    with pytest.warns(UserWarning, match=r"`nfe` = 6, but 5 calls"):
        assert seeds.plan(schedule="edm", nfe=6, evaluate=True).nfe == 5
    with pytest.raises(ValueError, match="`nfe` = 1 is too few: one step takes 2 calls"):
        seeds.plan(schedule="edm", nfe=1, evaluate=True, final="none")


def test_levels_stay_where_the_network_was_trained():
    for low, high in ((0.2, 5.0), (1e-5, 1e4)):
        made = seeds.plan_for(seeds.wrap(lambda x, t: x, "noise", schedule="ve", nsr_range=(low, high)), nfe=8)
        rule, path = auto.setting(8), seeds.VE()
        assert made.start.nsr == pytest.approx(min(rule.nsr_max, high, path.nsr(path.t_max)), rel=1e-12)
        assert made.rows[-1].at.nsr == pytest.approx(max(rule.nsr_min, low, path.nsr(path.t_min)), rel=1e-12)


@pytest.mark.parametrize(("given", "sentence"), [
    ({"steps": 9}, "`steps` = 9 means nothing without a solver.*give `nfe` = 9 instead"),
    ({"steps": 9, "nfe": 3}, "`steps` = 9 means nothing"), ({"nfe": 0}, "`nfe` = 0 must be a whole number, at least 1"),
    ({"nfe": 2.5}, "`nfe` = 2.5 must be a whole number"),
    ({"nfe": 5, "sigmas": [3.0, 1.0]}, "`nfe` = 5 says how many levels .* but the levels are given"),
    ({"start": 3}, r"`start` = 3 is the index of a level, but solver='auto' lays its levels .*say \('nsr', value\)"),
    ({"stop": ("nsr", 1e4)}, r"`stop` = \('nsr', 10000.0\) lies at or above nsr = .*, where the run begins"),
    ({"start": ("nsr", -1.0)}, "`start` = .* is not a noise level"), ({"stop": ("snr", 1.0)}, "`stop` as a level is"),
    ({"rho": 5.0}, r"`rho` = 5.0 shapes the grid karras, but `grid` is 'curve'. Say grid='karras' too"),
    ({"variant": "2b"}, "`variant` = '2b' is no option of adams .* It is of seeds-2, seeds-3, erk-2, erk-3"),
    ({"solver": "atuo"}, "There is no solver 'atuo'. Did you mean 'auto'"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_the_way_out(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        seeds.plan(**{"schedule": "edm"} | given)


def test_where_a_solver_is_needed_a_rule_is_none():
    assert "auto" not in seeds.SOLVERS and seeds.from_name("Auto") == {"solver": "auto"}
    with pytest.raises(
        ValueError, match=r"'auto' is a rule that chooses a solver and its grid .* Here a solver is needed"
    ):
        seeds.solvers.find_solver("auto")


# -- what is said beside it --------------------------------------------------------------------------------------------


def about(**asked):
    return seeds.plan(**{"schedule": "edm", "nfe": 8} | asked).about


def test_what_is_said_goes_before_the_rule_word_by_word():
    plain = about()
    for asked in ({"eta": 0.7}, {"fraction": 0.4}, {"s_noise": 1.1}, {"start_at": "zero"}):
        other = about(**asked)
        (name,) = asked
        assert other.get(name) == (None if asked == {"start_at": "zero"} else asked[name])
        changed = {key for key in {*plain, *other} if plain.get(key) != other.get(key)}
        assert changed == ({"eta", "fraction"} if name == "fraction" else {name})
    for name, value in (("nsr_min", 0.1), ("nsr_max", 9.0), ("first", 0.5), ("last", 2.0)):
        other = about(**{name: value})
        assert (
            other["grid"] == {**plain["grid"], name: value}
            and other["options"] == plain["options"]
            and other["eta"] == plain["eta"]
        )
    assert about(nsr_min=lambda steps: 0.7 / steps)["grid"]["nsr_min"] == pytest.approx(0.1)
    assert about(grid="karras", rho=5.0)["grid"] == {
        "name": "karras",
        "nsr_max": plain["grid"]["nsr_max"],
        "nsr_min": plain["grid"]["nsr_min"],
        "rho": 5.0,
    }


@pytest.mark.parametrize("aim", auto.AIMS)
@pytest.mark.parametrize("said", [
    {"k": 1}, {"k": 4}, {"corrector": 0}, {"variable": "lam"}, {"evaluate": True, "nfe": 9}, {"startup": "singlestep"},
    {"measure": "index"}, {"measure": "half"}, {"measure": "bh2", "k": 2}, {"measure": "taylor", "k": 3},
    {"lower_order_final": True},
])  # fmt: skip
def test_options_of_adams_go_together_with_the_rules(aim, said):
    chosen = about(aim=aim, **said)["options"]
    assert {name: chosen[name] for name in said if name != "nfe"} == {
        name: value for name, value in said.items() if name != "nfe"
    }


def test_levels_that_are_given_are_used_with_the_rules_method_and_noise():
    sigmas = [40.0, 10.0, 3.0, 1.0, 0.2, 0.05]
    for given in ({"sigmas": sigmas}, {"sigmas": [*sigmas, 0.0]}, {"grid": sigmas}, {"grid": np.array(sigmas)}):
        made, rule = seeds.plan(schedule="edm", **given), auto.setting(len(sigmas))
        assert (
            [row.at.nsr for row in made.rows] == pytest.approx(sigmas)
            and made.solver == "auto"
            and made.start_at == rule.start_at
        )
        named = seeds.plan("adams", schedule="edm", eta=rule.eta, start_at=rule.start_at, **rule.options({}), **given)
        assert made.rows == named.rows and made.draws == named.draws
    part = seeds.plan(schedule="edm", sigmas=sigmas, start=2)
    assert part.before == Before(len(made.draws) - len(part.draws), 2) and part.start_at == "zero"
    assert seeds.plan(schedule="edm", sigmas=[3.0, 0.0]).nfe == 1


UNEVEN = {
    "even steps in t of a table": TABLE.nsr(np.linspace(999, 0, 40)),
    "karras": np.array([row.at.nsr for row in seeds.plan("erk-1", schedule="edm", grid="karras", steps=20).rows]),
    "from SNR 0 to the clean end": np.array([np.inf, 9.0, 5.0, 3.0, 2.0, 0.4, 0.05, 0.0]),
}


def variance(plan):
    """Of the result, over that of Gaussian data."""
    return Gaussians(np.array([0.5])).share(plan)[0]


@pytest.mark.parametrize("levels", UNEVEN.values(), ids=UNEVEN)
def test_a_step_of_uneven_levels_renews_no_more_than_is_good(levels):
    """eta h is at most FRESH, eta no more than the rule's, and no extrapolation more than the change before it, unless
    no power of nsr helps."""
    rule = auto.setting(len(levels))
    found = rule.on(levels)
    assert replace(found, variable=rule.variable, eta=rule.eta) == rule
    lam = -np.log(levels[(levels > 0) & np.isfinite(levels)])
    changes = {p: np.diff(np.exp(-p * lam)) for p in auto.POWERS if p >= (power_of(rule.variable) or 0.0)}
    good = [p for p, change in changes.items() if (change[1:] >= change[:-1]).all()]
    assert power_of(found.variable) == min(good, default=max(changes))
    own, here = seeds.Eta(rule.eta), seeds.Eta(found.eta)
    for a, b in itertools.pairwise(lam):
        at = np.linspace(a, b, 200)[1:-1]
        assert here(at).mean() * (b - a) < auto.FRESH * 1.02
        np.testing.assert_allclose(here(at), np.minimum(own(at), auto.FRESH / (b - a)))
    assert auto.setting(len(levels), "accuracy").on(levels) == auto.setting(len(levels), "accuracy")


def test_levels_as_even_as_the_rules_have_its_setting():
    path = seeds.EDM()
    for nfe in (1, 2, *FEW, 100):
        rule = auto.setting(nfe)
        assert rule.on(path.nsr(auto.times(rule, path, nfe))) is rule
        made = about(nfe=nfe, grid="uniform_lam")
        assert made["options"] == rule.options({}) == about(nfe=nfe)["options"] and made["eta"] == about(nfe=nfe)["eta"]


def test_the_variance_on_uneven_levels_is_what_it_is_on_the_rules():
    """Of Gaussian data, within a fifth; with the rule's own eta and variable it is several times that."""
    given = {"schedule": "edm", "start_at": "zero"}
    for levels in (UNEVEN["even steps in t of a table"], UNEVEN["karras"], UNEVEN["karras"][::2]):
        rule = auto.setting(len(levels))
        own, found = variance(seeds.plan(nfe=len(levels), **given)), variance(seeds.plan(sigmas=levels, **given))
        assert abs(found - own) < 0.2 * own
        if len(levels) > 15:
            without = variance(seeds.plan("adams", sigmas=levels, eta=rule.eta, **rule.options({}), **given))
            assert own < 0.5 * without
    few = TABLE.nsr(np.linspace(999, 0, 25))
    for levels in ({"nfe": 20}, {"sigmas": np.geomspace(few[0], few[-1], 40)}):
        made = seeds.plan(round_nsr=lambda nsr: few[np.abs(np.log(few[:, None] / nsr)).argmin(0)], **levels, **given)
        assert variance(made) < 1.8, "nor on the few that a network knows"


@pytest.mark.parametrize("prediction", [name for name in PREDICTIONS if name != "data"])
def test_no_prediction_makes_too_much_of_the_noise(prediction):
    """With the rule's noise, which is for data prediction, the variance is up to 500 times the data's."""
    for nfe in (5, 8, 10, 15, 20, 40):
        made = seeds.plan(nfe=nfe, schedule="edm", start_at="zero", prediction=prediction)
        assert 0.7 < variance(made) < 2.0 and made.about["prediction"] == prediction
    assert about(nfe=20, prediction=prediction)["eta"] == [["-inf", 0.0], [pytest.approx(-math.log(0.3)), 1.0]]
    assert about(nfe=8, prediction=prediction, eta=0.7)["eta"] == 0.7
    assert auto.setting(20, "accuracy", prediction) == auto.setting(20, "accuracy")


def test_a_plan_can_be_read_and_saved(tmp_path):
    made = seeds.plan_for(
        seeds.wrap(lambda x, t: x, "flow", schedule="flow"), nfe=7, aim="accuracy", start=("nsr", 3.0)
    )
    made.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert (
        again == made
        and again.about == made.about
        and made.solver == "auto"
        and made.table().startswith("auto: 7 model calls")
    )
    said = {
        "solver": "auto",
        "aim": "accuracy",
        "nfe": 7,
        "method": "adams",
        "options": auto.setting(7, "accuracy").options({}),
    }
    assert {name: made.about[name] for name in said} == said and made.about["start"] == ["nsr", 3.0]
    assert (
        set(made.about["grid"]) == {"name", "nsr_max", "nsr_min", "first", "middle", "last"}
        and made.about["grid"]["nsr_max"] == 3.0
    )


# -- runs --------------------------------------------------------------------------------------------------------------


def drawn(**asked):
    """Two images of five calls."""
    return seeds.sample(model, SHAPE, **{"seed": [3, 4], "schedule": "edm", "nfe": 5} | asked)


def test_the_start_at_the_mean_is_for_runs_that_begin_with_noise_alone():
    x = torch.ones(2, *SHAPE)
    assert seeds.iterate(model, SHAPE, seed=1, schedule="edm").plan.start_at == "mean"
    for given in (
        {"data": x, "start": ("nsr", 2.0)},
        {"x": 40 * x, "nsr_max": 40.0},
        {"x": 2 * x, "start": ("nsr", 2.0), "part": 1},
    ):
        calls = seeds.iterate(model, SHAPE, seed=[3, 4], schedule="edm", nfe=5, **given)
        assert calls.plan.start_at == "zero" and calls.plan.nfe == len(list(calls)) == 5
    assert seeds.plan("seeds-3", schedule="edm", steps=3).start_at == "zero", (
        "named methods are run as they are published"
    )


def test_a_state_whose_level_is_not_said_is_refused():
    with pytest.raises(
        ValueError, match=r"`x` is a state, but at which level\? solver='auto' begins .* Say where x is: nsr_max=80"
    ):
        drawn(x=torch.ones(2, *SHAPE))
    assert (
        seeds.iterate(model, SHAPE, seed=1, schedule="flow", x=torch.ones(1, *SHAPE), nsr_max=math.inf).plan.start.alpha
        == 0
    )
    drawn(x=torch.ones(2, *SHAPE), sigmas=[40.0, 3.0, 0.1], nfe=None)


def test_two_parts_of_a_default_run_say_that_they_are_not_the_whole():
    """Each has calls of its own and noise of its own, so the second meets none of the first's."""
    seen = {"first": [], "second": []}

    def noise(key):
        def draw(j, lam0, lam1, shape, *, seeds, part):
            seen[key] += [(j, one) for one in part]
            return torch.ones(shape)

        return draw

    how = {"eta": 1.0}
    first = drawn(stop=("nsr", 1.0), noise=noise("first"), **how)
    with pytest.warns(
        UserWarning, match="two such parts are two runs, not the whole one, and this one draws fresh noise"
    ) as said:
        drawn(x=first, start=("nsr", 1.0), noise=noise("second"), **how)
    assert len(said) == 1 and seen["first"] and seen["second"] and not set(seen["first"]) & set(seen["second"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(x=first, start=("nsr", 1.0), part=1, **how)
    with pytest.raises(
        ValueError, match="`part` = 0 goes on with the noise of a whole run, but solver='auto' lays levels of its own"
    ):
        drawn(x=first, start=("nsr", 1.0), part=0, **how)


def test_levels_that_are_given_are_those_of_a_whole_run():
    sigmas, how = [40.0, 8.0, 2.0, 0.4, 0.1], {"nfe": None, "aim": "accuracy"}
    half = drawn(sigmas=sigmas, stop=2, start_at="zero", **how)
    with pytest.warns(UserWarning, match="auto reads answers of earlier steps"):
        drawn(sigmas=sigmas, start=2, x=half, part=0, **how)


def test_each_image_may_have_a_start():
    both = drawn(data=torch.ones(2, *SHAPE), start=("nsr", [2.0, 0.5]))
    alone = drawn(data=torch.ones(1, *SHAPE), start=("nsr", 0.5), seed=[4])
    torch.testing.assert_close(both[1:], alone)


# -- laws --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nfe", FEW[3:])
@pytest.mark.parametrize("aim", auto.AIMS)
def test_the_steps_are_exact_where_they_should_be(aim, nfe):
    """From zero, as laws are asked; on a schedule that begins at SNR 0 and on one that does not."""
    for schedule in ("vp", "flow"):
        chosen = request_for(None, nfe=nfe, aim=aim, schedule=schedule, start_at="zero", final="none").chosen
        made = chosen.plan()
        assert (
            constant_error(made, chosen.form, chosen.stochastic) < 1e-12
            and path_error(made, chosen.form, chosen.stochastic) < 1e-12
        )
        assert made.nfe == nfe and not made.opening.z
        path = [draw for draw in made.draws if draw.stream == "path"]
        assert path == list(made.draws) and all(
            after.lam0 == pytest.approx(before.lam1) for before, after in itertools.pairwise(path)
        )


OPTIONS = {
    str(sets): sets for rows in auto.RULE.values() for _, row in rows if (sets := replace(row, finish=0.0).options({}))
}
"""Without the finish, which is no solver's: it is one step more in place of the final denoise
(tests/laws/test_multistep.py)."""


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_every_law_of_solvers_holds_of_what_the_rule_sets(options):
    """Mutants, SNR 0, one law on every schedule: asked as of any solver, in the prediction that the rule has. The
    orders are those of `adams`' cases."""
    it = Subject(seeds.SOLVERS[auto.METHOD], options)
    asked = [law for law in LAWS.values() if law.applies(it) and "order" not in law.name]
    assert len(asked) > 8 and not [(law.name, fault) for law in asked for fault in law.faults(it)]


@pytest.mark.parametrize("nfe", [2, 5, 10])
def test_the_start_at_the_mean_is_x_0_and_the_first_answer(nfe):
    """As from x_0 + alpha_0 D_0, with D_0 held."""
    plain, mean = (seeds.plan(schedule="vp", nfe=nfe, start_at=start_at) for start_at in ("zero", "mean"))
    x, z = (
        torch.tensor([0.3, -0.8], dtype=torch.float64),
        torch.linspace(-1, 1, 200, dtype=torch.float64).reshape(100, 2),
    )
    first = mixture_denoiser(plain.start.sigma * x, plain.start)

    def held(y, at):
        return first if at == plain.start else mixture_denoiser(y, at)

    shifted = states(plain, held, plain.start.sigma * x + plain.start.alpha * first, z.__getitem__)
    own = states(mean, mixture_denoiser, plain.start.sigma * x, z.__getitem__)
    torch.testing.assert_close(own[1:], shifted[1:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("aim", auto.AIMS)
def test_nothing_explodes_from_1_call_to_60(aim):
    """From noise alone: on Gaussian data of std 0.1 to 3 the variance is known, on a mixture it is drawn; from 10 calls
    on it is about right."""
    data = Gaussians(np.array([0.1, 0.3, 0.7, 1.5, 3.0]))
    noise = torch.randn(61, 400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for nfe in (*range(1, 21), 25, 30, 37, 45, 60):
        made = seeds.plan(schedule="edm", nfe=nfe, aim=aim)
        share = data.share(made)
        assert share.max() < 2.5 and (share.min() > 0.5 or nfe < 10)
        assert states(made, mixture_denoiser, made.start.sigma * noise[-1], noise.__getitem__)[-1].abs().max() < 4
