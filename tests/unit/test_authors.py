"""The authors' spelling, option by option, and as whole command lines."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import seeds
from seeds import EDM, VE, VP, preconditioners
from seeds.cli import authors
from seeds.cli.authors import translate
from seeds.cli.options import arguments
from seeds.denoisers import state
from seeds.grids import vp, vp_betas
from seeds.planning import plan_for
from seeds.schedules import Rescaled
from seeds.stepper import run

EDM_LEVELS = {"nsr_min": 0.002, "nsr_max": 80.0}
SERK = {"solver": "etd-serk"}

CASES = [
    (
        SERK,
        {"solver": "seeds-1", "steps": 17, "grid": "karras", "prediction": "noise", "schedule": EDM(), **EDM_LEVELS},
    ),
    (SERK | {"order": 3}, {"solver": "seeds-3"}),
    ({"solver": "etd-erk", "order": 4}, {"solver": "erk-4"}),
    ({"solver": "rk"}, {"solver": "rk-1"}),
    ({"solver": "rk", "schedule": "ve"}, {"solver": "rk-1", "variable": "t"}),
    (
        {"solver": "rk", "order": 1, "S_churn": 40.0, "S_min": 0.05, "S_max": 50.0},
        {"S_churn": 40.0, "S_min": 0.05, "S_max": 50.0},
    ),
    ({"solver": "rk", "order": 2, "c2": 0.5}, {"solver": "rk-2", "r": 0.5}),
    (SERK | {"S_churn": 40.0, "S_min": 0.05, "S_noise": 1.003}, {"S_churn": 40.0, "S_min": 0.05, "S_noise": 1.003}),
    ({"solver": "etd-erk", "order": 3, "S_churn": 40.0}, {"solver": "erk-3", "S_churn": 40.0}),
    (SERK | {"steps": 2}, {"steps": 1}),
    (SERK | {"noise_pred": True}, {"prediction": "noise"}),
    (SERK | {"noise_pred": False}, {"prediction": "data"}),
    (SERK | {"order": 2, "c2": 0.9, "butcher_type": "2b"}, {"r": 0.9, "variant": "2b"}),
    (SERK | {"order": 3, "c2": 0.25, "butcher_type": "3b"}, {"r": (0.25, 2 / 3), "variant": "3b"}),
    (SERK | {"order": 3, "c2": 0.8}, {"r": (0.8, 2 / 3)}),
    (SERK | {"order": 3, "c2": 2 / 3}, {"r": (2 / 3, 2 / 3)}),
    (SERK | {"noise_type": "discrete"}, {"noise": "two-point"}),
    (SERK | {"noise_type": "gaussian"}, {"noise": "gaussian"}),
    (SERK | {"disc": "ve"}, {"grid": "ve", "nsr_min": 0.02, "nsr_max": 100.0}),
    (SERK | {"disc": "iddpm"}, {"grid": "iddpm", "nsr_min": 0.002, "nsr_max": 81.0}),
    (SERK | {"disc": "edm", "rho": 5.0}, {"grid": "karras", "rho": 5.0}),
    (SERK | {"nsr_min": 0.1, "nsr_max": 10.0}, {"nsr_min": 0.1, "nsr_max": 10.0}),
    (SERK | {"final": "none"}, {"final": "none"}),
    (SERK | {"schedule": "ve"}, {"schedule": VE()}),
    (SERK | {"schedule": "ve", "scaling": "vp"}, {"schedule": Rescaled(VE(), "vp")}),
    (SERK | {"schedule": "linear", "scaling": "vp"}, {"schedule": Rescaled(EDM(), "vp")}),
    (SERK | {"schedule": "vp", "scaling": "vp"}, {"schedule": VP(*vp_betas(0.002, 80.0))}),
    # no VP goes from 0.1 to 10
    (SERK | {"disc": "vp", "nsr_min": 0.1, "nsr_max": 10.0}, {"grid": "vp", "beta_d": 19.9, "beta_min": 0.1}),
    (SERK | {"schedule": "vp"}, {"schedule": Rescaled(VP(*vp_betas(0.002, 80.0)), "none")}),
]


@pytest.mark.parametrize(("theirs", "ours"), CASES, ids=str)
def test_options_are_translated(theirs, ours):
    found = translate(theirs)
    assert found | ours == found, found
    found.pop("noise", None)
    seeds.plan(**found)


def test_what_means_nothing_here_changes_nothing():
    assert translate(SERK | {"order": 1, "c2": 0.3, "butcher_type": "2b"}) == translate(SERK | {"order": 1})
    assert translate({"solver": "rk", "noise_pred": True, "butcher_type": "2a"}) == translate({"solver": "rk"})
    assert translate(SERK | {"S_churn": 0.0, "S_max": 50.0}) == translate(SERK)
    assert translate(SERK | {"S_noise": 1.003}) == translate(SERK), "S_noise is the churn's"
    assert translate(SERK | {"disc": "ve", "rho": 3.0}) == translate(SERK | {"disc": "ve"})


def test_the_vp_grid_has_the_range_of_beta_d_19_1():
    found = translate(SERK | {"disc": "vp", "schedule": "vp", "scaling": "vp", "steps": 9})
    assert (found["schedule"].beta_d, found["schedule"].beta_min) == pytest.approx((19.1, 0.1), rel=1e-11)
    levels = [point.nsr for point in seeds.plan(**found | {"solver": "seeds-1", "final": "none"}).points()]
    np.testing.assert_allclose(levels, VP(19.1, 0.1).nsr(np.linspace(1, 1e-3, 9)), rtol=1e-11)


def test_the_vp_grid_is_fitted_to_a_range_of_its_own():
    found = translate(SERK | {"disc": "vp", "nsr_min": 0.01, "nsr_max": 50.0, "steps": 5})
    own = VP(found["beta_d"], found["beta_min"])
    assert (own.nsr(1.0), own.nsr(1e-3)) == pytest.approx((50.0, 0.01))
    np.testing.assert_allclose(
        vp(EDM(), 4, nsr_min=0.01, nsr_max=50.0, beta_d=own.beta_d, beta_min=own.beta_min),
        own.nsr(np.linspace(1, 1e-3, 5)),
    )


def test_the_range_is_kept_inside_the_network_s():
    known = SimpleNamespace(nsr_range=(0.01, 50.0))
    assert translate(SERK, known) | {"nsr_min": 0.01, "nsr_max": 50.0} == translate(SERK, known)
    assert translate(SERK, SimpleNamespace(nsr_range=(0.0001, 500.0))) == translate(SERK)


RAW = SimpleNamespace(preconditioner=preconditioners.EDMNoise(sigma_data=0.7))
LEVELS = state(lambda x, at: x, round_nsr=preconditioners.iDDPM().round_nsr)


def test_noise_of_an_edm_network_is_its_raw_output_where_theirs_is():
    raw, noise = {"prediction": "edm_raw", "sd": 0.7}, {"prediction": "noise"}
    for options, wanted in (
        ({}, raw),
        ({"noise_pred": True, "order": 3}, raw),
        ({"noise_pred": False}, {"prediction": "data"}),
        ({"schedule": "ve"}, noise),
        ({"scaling": "vp"}, noise),
        ({"disc": "ve"}, noise),
    ):
        found = translate(SERK | options, RAW)
        assert found | wanted == found and ("sd" in found) == ("sd" in wanted), found
        seeds.plan(**found)
    half = SimpleNamespace(preconditioner=preconditioners.EDMNoise())
    assert translate(SERK, half) == translate(SERK) | {"prediction": "edm_raw"}
    wrapped = seeds.wrap(lambda x, t: x, "edm_raw", schedule="edm", sd=0.3)
    assert translate(SERK, wrapped)["sd"] == 0.3
    assert translate(SERK, seeds.guide(wrapped, 2.0))["sd"] == 0.3


def levels_of_calls(**theirs) -> list[float]:
    return [row.at.nsr for row in plan_for(LEVELS, **translate({"steps": 6} | theirs, LEVELS)).rows]


def test_a_network_of_known_levels_is_asked_as_there():
    """Ends are rounded, stages are not; order 3 on linear, none rounds nothing, and on the others the ends again."""
    table = preconditioners.iDDPM().u[:-1].double().numpy()
    off = {}
    for order in (1, 2, 3, 4):
        for schedule in ("linear", "ve"):
            nsr = np.array(levels_of_calls(solver="etd-serk", order=order, schedule=schedule))
            off[order, schedule] = np.abs(nsr[:, None] / table - 1).min(1) > 1e-9
    for (order, schedule), moved in off.items():
        if (order, schedule) == (3, "linear"):
            assert moved.sum() > 12
        else:
            calls = 5 if order == 4 else order
            assert not moved[::calls].any(), "ends"
            assert order == 1 or moved.sum() > 3, "stages"
    rk = np.array(levels_of_calls(solver="rk", order=2, c2=0.5, S_churn=1.0))
    away = np.abs(rk[:, None] / table - 1).min(1) > 1e-9
    assert not away[::2].any() and away[1::2].all(), "churned levels are rounded"


def test_rk_on_a_fitted_vp_schedule_is_their_ode():
    """Their betas for 0.002 to 80 have beta_min = -0.0048: Euler's steps in t, written out, with a nonlinear model."""
    beta_d, beta_min = vp_betas(0.002, 80.0)
    assert beta_min == pytest.approx(-0.0048, abs=1e-4)
    made = seeds.plan(**translate({"solver": "rk", "steps": 7, "schedule": "vp", "scaling": "vp"}))
    nsr = (80 ** (1 / 7) + np.arange(7) / 6 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    t = (np.sqrt(beta_min**2 + 2 * beta_d * np.log1p(nsr**2)) - beta_min) / beta_d
    assert t[0] == pytest.approx(1) and t[-1] == pytest.approx(1e-3)

    def answer(x, alpha):
        return np.tanh(x / alpha)

    x = np.linspace(-60, 60, 7) * made.start.alpha
    start = torch.from_numpy(x)
    for i in range(6):
        alpha = 1 / math.hypot(1, nsr[i])
        log_alpha = -(beta_d * t[i] + beta_min) / 2
        log_nsr = -log_alpha * (1 + 1 / nsr[i] ** 2)
        slope = (log_alpha + log_nsr) * x - alpha * log_nsr * answer(x, alpha)
        x = x + (t[i + 1] - t[i]) * slope
    calls = []

    def denoise(state, at):
        calls.append(state)
        return torch.tanh(state / at.alpha)

    run(made, denoise, start, None)
    np.testing.assert_allclose(calls[-1].numpy(), x, rtol=1e-7)


def test_churn_then_the_step():
    """--S_churn beside etd-erk, order 1: Algorithm 2's lift, then the exponential step from the lifted level, here in
    data prediction."""
    theirs = {
        "solver": "etd-erk",
        "noise_pred": False,
        "steps": 4,
        "S_churn": 1.0,
        "S_min": 0.05,
        "S_max": 50.0,
        "S_noise": 1.1,
    }
    made = seeds.plan(**translate(theirs))
    noise = torch.randn(len(made.draws), 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    nsr = [*((80 ** (1 / 7) + np.arange(4) / 3 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7)]
    x = start = 80 * torch.linspace(-1, 1, 5, dtype=torch.float64)
    j = 0
    for here, there in itertools.pairwise(nsr):
        if 0.05 <= here <= 50:
            lifted = here * (1 + 0.25)
            x, j, here = x + math.sqrt(lifted**2 - here**2) * 1.1 * noise[j], j + 1, lifted
        x = there / here * x + (1 - there / here) * torch.tanh(x)
    assert j == len(made.draws) == 2 and {draw.stream for draw in made.draws} == {"churn"}
    torch.testing.assert_close(
        run(made, lambda x, at: torch.tanh(x), start, lambda j: noise[j]), torch.tanh(x), rtol=1e-12, atol=1e-12
    )


def test_rk_steps_in_the_time_of_the_schedule():
    one, other = (translate({"solver": "rk", "order": 1, "schedule": name, "steps": 3}) for name in ("linear", "ve"))
    assert seeds.plan(**one).points() != seeds.plan(**other).points()
    by_t, by_nsr = seeds.plan(**one), seeds.plan("rk-1", steps=2, schedule="edm")
    for row, wanted in zip(by_t.rows, by_nsr.rows, strict=True):  # t is nsr on the EDM schedule
        assert dict(row.x) == pytest.approx(dict(wanted.x)) and dict(row.d) == pytest.approx(dict(wanted.d))
    assert dict(seeds.plan(**other).rows[0].d) != pytest.approx(dict(by_t.rows[0].d))


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (SERK | {"steps": 1}, "`--steps` = 1, but with the authors' solvers it counts levels"),
        (SERK | {"order": 5}, "`--order` = 5, but --solver etd-serk has orders 1 to 4"),
        ({"solver": "rk", "order": 3}, "rk has orders 1 to 2"),
        (SERK | {"disc": "edn"}, "There is no --disc 'edn'. Did you mean 'edm'"),
        (SERK | {"schedule": "edm"}, "Known: vp, ve, linear"),
        (SERK | {"scaling": "ve"}, "There is no --scaling 've'"),
        (SERK | {"noise_type": "white"}, "Known: gaussian, discrete"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(theirs, words):
    with pytest.raises(ValueError, match=words):
        translate(theirs)


@pytest.mark.parametrize("name", ["grid", "sigmas", "prediction", "eta", "variant", "r", "noise", "stages", "s_noise"])
def test_our_words_do_not_mix_with_theirs(name):
    with pytest.raises(
        ValueError, match=f"`--{name.replace('_', '-')}` is of another spelling than `--solver etd-serk`"
    ):
        arguments({"solver": "etd-serk", name: "x"})


def test_model_calls_are_said_in_both_spellings():
    said = arguments({"solver": "etd-serk", "order": 3, "nfe": 10})
    assert said["nfe"] == 10 and "steps" not in said and seeds.plan(**said).nfe == 10
    with pytest.raises(ValueError, match="`steps` = 5 and `nfe` = 10 both say how long the run is"):
        seeds.plan(**arguments({"solver": "etd-serk", "nfe": 10, "steps": 6}))


@pytest.mark.parametrize("name", authors.ONLY)
def test_their_words_do_not_mix_with_ours(name):
    with pytest.raises(
        ValueError, match=f"`--{name}` is of the authors' spelling, which needs --solver etd-serk or etd-erk or rk"
    ):
        arguments({"solver": "seeds-2", name: "x"})


def test_the_page_has_every_option_there_is():
    page = (Path(__file__).parents[2] / "docs" / "authors-options.md").read_text()
    listed = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    for name in (
        *authors.ONLY,
        *authors.SHARED,
        "solver",
        "steps",
        "schedule",
        "sigma_min",
        "sigma_max",
        "rho",
        "outdir",
        "seeds",
    ):
        assert f"--{name}" in listed
