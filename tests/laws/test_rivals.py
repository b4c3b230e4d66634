"""Rivals against their formulas, written out here as loops over states; what their names lead to; what is wrong is
named."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import seeds
from seeds.grids import GRIDS
from seeds.integrals import Eta
from seeds.laws import LAWS, Subject, gaussian_errors, largest_step, slope
from seeds.laws.exactness import path_error
from seeds.laws.responses import mixture_denoiser
from seeds.plans import Point
from seeds.solvers import Orders, Solver
from seeds.solvers.rivals.er_sde import eta as er_eta
from seeds.stepper import run

SIGMAS = np.array([20.0, 9.0, 4.0, 1.5, 0.6, 0.2, 0.05])
X0 = torch.tensor([-1.0, 0.3, 1.4], dtype=torch.float64) * 20
Z = torch.sin(torch.arange(30, dtype=torch.float64) ** 2).reshape(10, 3)


def asked(y, nsr):
    return mixture_denoiser(y, Point(0.0, 1.0, float(nsr)))


def drawn(solver, **options):
    plan = seeds.plan(solver, sigmas=SIGMAS, schedule="edm", final="none", **options)
    return run(plan, mixture_denoiser, X0, Z.__getitem__)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def noise_scale(nsr):
    return nsr * (math.exp(nsr**0.3) + 10)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_er_sde_is_the_papers(order):
    """x1 = phi1/phi0 x0 + (1 - phi1/phi0) D + (nsr1 - nsr0 + S phi1) D' + ((nsr1 - nsr0)^2 / 2 + S' phi1) D'' + noise,
    integrals by a fine sum."""
    y, known = X0, []
    for i, (a, b) in enumerate(pairwise(SIGMAS)):
        ratio, d = noise_scale(b) / noise_scale(a), asked(y, a)
        at, weights = np.polynomial.legendre.leggauss(40)
        at, weights = (a + b) / 2 + (a - b) / 2 * at, weights * (a - b) / 2
        density = weights / np.array([noise_scale(nsr) for nsr in at])
        first = b - a + noise_scale(b) * density.sum()
        second = (b - a) ** 2 / 2 + noise_scale(b) * (density * (at - a)).sum()
        new = ratio * y + (1 - ratio) * d + math.sqrt(b**2 - (ratio * a) ** 2) * Z[i]
        slope = (d - known[-1][0]) / (a - SIGMAS[i - 1]) if i else None
        if order > 1 and i:
            new = new + first * slope
        if order > 2 and i > 1:
            new = new + second * (slope - known[-1][1]) / ((a - SIGMAS[i - 2]) / 2)
        known.append((d, slope))
        y = new
    torch.testing.assert_close(drawn(f"er-sde-{order}"), y, rtol=1e-9, atol=1e-9)


def test_er_sdes_noise_is_the_slope_of_its_scale():
    for nsr in (0.01, 0.5, 40.0):
        slope = math.log(noise_scale(nsr * 1.001) / noise_scale(nsr / 1.001)) / (2 * math.log(1.001))
        assert 1 + er_eta(-math.log(nsr)) == pytest.approx(slope, rel=1e-6)


def test_pfdiff_is_the_papers():
    """To the middle with the last answer, and over the whole step with the answer there: Euler steps of y in nsr."""
    y, eps = X0, (X0 - asked(X0, SIGMAS[0])) / SIGMAS[0]
    y = y + (SIGMAS[1] - SIGMAS[0]) * eps
    for a, b in pairwise(SIGMAS[1:]):
        middle = math.sqrt(a * b)
        at_middle = y + (middle - a) * eps
        eps = (at_middle - asked(at_middle, middle)) / middle
        y = y + (b - a) * eps
    close(drawn("pfdiff"), y)


@pytest.mark.parametrize("gamma", [1.5, 2.0])
def test_gradient_estimation_is_the_papers(gamma):
    y, before = X0, None
    for a, b in pairwise(SIGMAS):
        eps = (y - asked(y, a)) / a
        y, before = y + (b - a) * (eps if before is None else gamma * eps + (1 - gamma) * before), eps
    close(drawn("gradient-estimation", measure=f"at {gamma - 1}"), y)


@pytest.mark.parametrize(("solver", "published"), [
    ("gradient-estimation", {"measure": "at 1"}), ("ipndm", {"k": 4}), ("ipndm-v", {"k": 4}),
    ("unipc", {"k": 3, "measure": "bh2"}),
    ("sa-solver", {"k": 3, "corrector": 3, "eta": [(-math.inf, 0.0), (0.0, 1.0), (-math.log(0.05), 0.0)]}),
    ("edm-stochastic", {"S_churn": 40.0, "S_min": 0.05, "S_max": 50.0, "S_noise": 1.003}),
    ("lcm", {"renewed": 1.0}), ("tcd", {"gamma": 0.3}), ("ddim", {"eta_ddim": 0.0}),
    ("dpm-solver-2", {"r": 1 / 2}), ("dpm-solver-3", {"r": (1 / 3, 2 / 3)}), ("dpmpp-2s", {"r": 1 / 2}),
    ("dpmpp-sde", {"r": 1 / 2, "eta": 1.0}), ("dpmpp-2m-sde", {"measure": "lam", "eta": 1.0}),
    ("dpmpp-3m-sde", {"measure": "half", "eta": 1.0}), ("dpmpp-3m", {"measure": "half-midpoint"}),
])  # fmt: skip
def test_the_numbers_that_none_are_given_for_are_the_published_ones(solver, published):
    """gamma = 2 of gradient estimation, tau = 1 from nsr 1 to 0.05 of SA-Solver, EDM's churn for ImageNet-64, ..."""
    plan, said = (seeds.plan(solver, steps=120, schedule="edm", **given) for given in ({}, published))
    assert plan.rows == said.rows and plan.draws == said.draws


def test_ipndm_has_adams_bashforths_numbers_on_any_grid():
    y, known = X0, []
    rows = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
    for a, b in pairwise(SIGMAS):
        known.insert(0, (y - asked(y, a)) / a)
        y = y + (b - a) * sum(w * eps for w, eps in zip(rows[min(len(known), 4) - 1], known, strict=False))
    close(drawn("ipndm"), y)


@pytest.mark.parametrize(("solver", "options", "renewed"), [
    ("lcm", {}, 1.0), ("tcd", {"renewed": 0.4}, 0.4),
    # t is nsr on this schedule
    ("tcd", {}, math.sqrt(1 - 0.7**2)), ("tcd", {"gamma": 1.0}, 1.0), ("tcd", {"gamma": 0.0}, 0.0),
])  # fmt: skip
def test_lcm_and_tcd_put_back_that_part_of_the_noise(solver, options, renewed):
    y = X0
    for i, (a, b) in enumerate(pairwise(SIGMAS)):
        d = asked(y, a)
        y = d + b * math.sqrt(1 - renewed**2) * (y - d) / a + renewed * b * Z[i]
    close(drawn(solver, **options), y)


@pytest.mark.parametrize("eta_ddim", [0.0, 0.5, 1.0])
def test_ddim_has_its_own_eta(eta_ddim):
    y, drawn_noise = X0, 0
    for a, b in pairwise(SIGMAS):
        d = asked(y, a)
        fresh = eta_ddim * b * math.sqrt(1 - (b / a) ** 2)
        y = d + math.sqrt(b**2 - fresh**2) * (y - d) / a + fresh * Z[drawn_noise]
        drawn_noise += 1
    close(drawn("ddim", eta_ddim=eta_ddim), y)


def test_ddims_eta_is_in_the_step_that_leaves_snr_zero():
    plan, ode = (seeds.plan("ddim", steps=4, schedule="flow", eta_ddim=eta) for eta in (0.6, 0.0))
    first, to = plan.rows[0], plan.rows[1].at
    assert plan.nfe == ode.nfe == 5 and first.at.alpha == 0 and [len(row.z) for row in plan.rows] == [1, 1, 1, 1, 0]
    assert first.x == ((0, pytest.approx(0.8 * to.sigma)),) and first.z == ((0, pytest.approx(0.6 * to.sigma)),)
    assert first.d == ode.rows[0].d and not ode.draws


def test_deis_has_vps_time_on_every_schedule():
    on_vp, in_t, on_edm = (
        seeds.plan("deis-tab3", schedule=schedule, sigmas=SIGMAS, **more).on(seeds.VP())
        for schedule, more in (("vp", {}), ("vp", {"variable": "t"}), ("edm", {}))
    )
    for a, b, c in zip(on_vp.rows, in_t.rows, on_edm.rows, strict=True):
        np.testing.assert_allclose([a.d, a.d], [b.d, c.d], rtol=1e-9)
    ours, vps = (
        seeds.plan("adams", k=3, variable=t, measure=t, schedule="vp", sigmas=SIGMAS, prediction="noise").rows[3]
        for t in ("t", "vp_t")
    )
    np.testing.assert_allclose(vps.d, ours.d, rtol=1e-9)


def test_a_strangers_point_in_t_is_not_asked_for_one_law_on_every_schedule():
    law, own = (
        LAWS["schedules"],
        Solver("x", lambda write, levels, prediction, eta: None, Orders(2, 2), fixed={"variable": "t"}),
    )
    assert not law.applies(Subject(own)) and law.applies(Subject(seeds.SOLVERS["deis-tab3"], prediction="noise"))


def test_dpmpp_3m_has_half_the_second_difference_of_res_3m():
    half, whole = (seeds.plan(name, sigmas=SIGMAS, schedule="edm") for name in ("dpmpp-3m", "res-3m"))
    whole_d, half_d = (dict(plan.rows[4].d) for plan in (whole, half))
    assert whole_d.keys() == half_d.keys() == {2, 3, 4}
    lam = -np.log(SIGMAS)
    for j in (2, 3, 4):
        others = [lam[j] - lam[i] for i in (2, 3, 4) if i != j]
        difference = 1 / math.prod(others)  # weight of D_j in the second difference
        assert (whole_d[j] - half_d[j]) / difference == pytest.approx(
            (whole_d[2] - half_d[2]) * (lam[2] - lam[3]) * (lam[2] - lam[4])
        )
    assert sum(half_d.values()) == pytest.approx(sum(whole_d.values()))


def test_the_two_forms_of_unipc_are_one_but_where_two_values_are_read():
    one, other = (seeds.plan("unipc", k=3, measure=bh, sigmas=SIGMAS, schedule="edm").rows for bh in ("bh1", "bh2"))
    # the corrector of two, and the predictor of two with its corrector
    assert one[1].d != other[1].d and one[2].d != other[2].d
    assert dict(one[4].d) == pytest.approx(dict(other[4].d), rel=1e-12)


def test_pece_asks_about_the_corrected_state():
    plan = seeds.plan("adams", k=2, corrector=3, evaluate=True, steps=5, schedule="edm", eta=1.0)
    assert (
        plan.nfe == 2 * 5 + 1
        and len(plan.draws) == 5
        and [row.completes for row in plan.rows] == [False, True] * 5 + [True]
    )
    assert [j for j, _ in plan.rows[8].d] == [6, 8] and [j for j, _ in plan.rows[9].d] == [6, 8, 9], (
        "of the predicted states only the newest is read"
    )


def test_restart_goes_back_and_down_again():
    plan = seeds.plan(
        "restart", sigmas=SIGMAS, schedule="edm", final="none", back_from=0.2, back_to=0.6, back_steps=2, times=2
    )
    nsr = [round(at.nsr, 3) for at in plan.points()]
    assert nsr.count(0.6) == 2 * 2 and len(plan.draws) == 2 and {draw.stream for draw in plan.draws} == {"churn"}
    assert plan.end.nsr == pytest.approx(0.05)


def test_restart_has_several_intervals():
    given = {"sigmas": SIGMAS, "schedule": "edm", "final": "none"}
    plan = seeds.plan("restart", back_from=(1.5, 0.2), back_to=(4.0, 0.6), times=(1, 2), back_steps=2, **given)
    nsr = [round(at.nsr, 3) for at in plan.points()]
    assert (
        nsr.count(4.0) == 2 + 1 and nsr.count(0.6) == 2 + 2 and plan.steps == len(SIGMAS) - 1 and len(plan.draws) == 3
    )
    one = seeds.plan("restart", back_from=(1.5, 0.2), back_to=(4.0, 0.6), times=(0, 2), back_steps=2, **given)
    assert one == seeds.plan("restart", back_from=0.2, back_to=0.6, times=2, back_steps=2, **given)


def test_the_noise_of_published_dpmpp_sde_is_that_of_no_path_of_the_process():
    """Its variances are right, and so is its weak order; how stage and step hang together is not the process's."""
    ours, theirs = (Subject(seeds.SOLVERS["dpmpp-sde"], {"brownian": how}) for how in ("process", "sigma"))
    one, other = (it.plan(sigmas=SIGMAS, schedule="edm", eta=1.0, final="none") for it in (ours, theirs))
    for i, (a, b) in enumerate(zip(one.rows, other.rows, strict=True)):
        assert sum(w**2 for _, w in a.z) == pytest.approx(sum(w**2 for _, w in b.z)) and (a.z == b.z) == (i % 2 == 0)
    assert path_error(one, ours.form, Eta(1.0)) < 1e-12 < 1e-2 < path_error(other, theirs.form, Eta(1.0))
    assert slope(gaussian_errors(theirs.plan, eta=1.0)) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(("name", "arguments"), [
    ("DPM++ 2M SDE Karras", {"solver": "dpmpp-2m-sde", "grid": "karras"}),
    ("dpmpp_2m_sde", {"solver": "dpmpp-2m-sde"}),
    ("DPM++ 2M SDE Heun Exponential", {"solver": "dpmpp-2m-sde", "measure": "exact", "grid": "uniform_lam"}),
    ("DPM++ 2S a Karras", {"solver": "dpmpp-2s-ancestral", "grid": "karras"}),
    ("Euler a", {"solver": "seeds-1"}),
    ("UniPC", {"solver": "unipc"}),
    ("dpmpp_2m_sde_gpu SGM Uniform", {"solver": "dpmpp-2m-sde", "grid": "sgm_uniform"}),
    ("DPM2 a KL Optimal", {"solver": "dpm-2-ancestral", "grid": "kl_optimal"}),
    ("DDIM Uniform", {"solver": "ddim", "grid": "linear_t"}),
    ("res_multistep beta", {"solver": "res-2m", "grid": "beta"}),
    ("SA_Solver_PECE Align Your Steps", {"solver": "sa-solver", "evaluate": True, "grid": "ays"}),
    ("seeds_3", {"solver": "seeds-3"}),
    ("exp_heun_2_x0_sde", {"solver": "seeds-2", "variant": "2b", "r": 1.0}),
])  # fmt: skip
def test_names_of_front_ends_make_plans(name, arguments):
    assert seeds.from_name(name) == arguments
    assert seeds.plan(steps=4, schedule="vp", **arguments).nfe >= 5


def test_every_sampler_and_scheduler_of_the_front_ends_is_known_or_refused_in_a_sentence():
    """The lists of names as their menus have them."""
    known = """euler euler_ancestral heun dpm_2 dpm_2_ancestral lms dpmpp_2s_ancestral dpmpp_sde dpmpp_sde_gpu dpmpp_2m
        dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm ipndm ipndm_v deis
        res_multistep gradient_estimation er_sde seeds_2 seeds_3 sa_solver sa_solver_pece ddim
        uni_pc uni_pc_bh2 exp_heun_2_x0 exp_heun_2_x0_sde
        Euler_a DPM2 DPM2_a Restart TCD DPM++_2S_a DPM++_3M_SDE"""
    schedulers = "Karras,Exponential,Polyexponential,Simple,Normal,SGM Uniform,KL Optimal,Beta,DDIM Uniform"
    for name in known.split():
        assert seeds.from_name(name)["solver"] in seeds.SOLVERS
        for scheduler in [*schedulers.split(","), "Align Your Steps"]:
            assert seeds.from_name(f"{name.replace('_', ' ')} {scheduler}")["grid"] in GRIDS
    refused = """dpm_fast dpm_adaptive PLMS heunpp2 euler_cfg_pp dpmpp_2m_cfg_pp DDIM_CFG++ res_multistep_ancestral
        dpm_solver_v3 edm midpoint"""
    for name in refused.split():
        with pytest.raises(ValueError, match=r"There is no solver '.*'\. [A-Z].*Known:") as caught:
            seeds.plan(name, steps=3, schedule="edm")
        assert "Did you mean" not in str(caught.value)
    with pytest.raises(ValueError, match=r"names a grid too: seeds.from_name takes both .* say grid='sgm_uniform'"):
        seeds.plan("DPM++ 2M SDE SGM Uniform", steps=3, schedule="edm")


@pytest.mark.parametrize(("make", "words"), [
    (lambda: seeds.from_name("DPM++ 9M Karras"), "There is no solver 'dpm[+][+] 9m'"),
    (lambda: seeds.from_name("DPM adaptive"), "It chooses its steps as it goes, so it is no plan"),
    (lambda: seeds.from_name("DPM fast Karras"), "steps are those of 'dpm-solver-3', but for the last ones"),
    (lambda: drawn("adams", measure="flat"), "`measure` must be one of exact, lam, .* but is 'flat'"),
    (lambda: drawn("adams", measure="at 2"), "the place in the step is a number from 0 to 1"),
    (lambda: drawn("adams", measure="bh1", variable="nsr"), "has polynomials in lam: leave `variable` out"),
    (lambda: drawn("adams", measure="taylor", corrector=2), "is of a method without a corrector, but `corrector` is 2"),
    (lambda: drawn("adams", evaluate=True), "`corrector` is 0, none"),
    (lambda: drawn("ddim", eta=1.0, eta_ddim=0.5), "both say how much noise is put back"),
    (lambda: drawn("ddim", eta_ddim=1.5), "`eta_ddim` must be a number from 0"),
    (lambda: drawn("lcm", renewed=2.0), "`renewed` must be a number from 0"),
    (lambda: drawn("tcd", gamma=2.0), "`gamma` must be a number from 0"),
    (lambda: drawn("dpmpp-sde", brownian="t"), "`brownian` must be 'process' or 'sigma', but is 't'"),
    (lambda: drawn("restart", times=(1, 2), back_to=(1.0, 2.0, 3.0)),
        r"one for each interval, but there are \[2, 3, 1, 1\] of them"),
    (lambda: drawn("restart", back_from=(0.2, 0.3), back_to=2.0), r"`back_from` = \[0.2, 0.3\] must fall"),
    (lambda: drawn("restart", times=1.5), "whole numbers the first two, but they are 1.5"),
    (lambda: drawn("restart", back_steps=0), "`back_steps` >= 1 and 0 < `back_from`"),
    (lambda: drawn("deis-tab3", eta=1.0), "deis-tab3 solves the ODE"),
])  # fmt: skip
def test_what_is_wrong_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_each_has_a_grid_and_a_prediction_of_its_own():
    given = {"steps": 5, "schedule": "edm"}
    assert (
        seeds.plan("unipc", **given)
        == seeds.plan("unipc", grid="uniform_lam", **given)
        != seeds.plan("unipc", grid="karras", **given)
    )
    assert seeds.plan("ipndm", **given) == seeds.plan("ipndm", grid="karras", prediction="noise", **given)
    for name, solver in seeds.SOLVERS.items():
        assert solver.source or (solver.grid, solver.prediction) == ("karras", "data"), (
            f"{name}: what was without them stays as it was"
        )


def test_the_measured_table_of_the_docs_declares_what_the_registry_does():
    """python benchmarks/orders.py --write makes it."""
    page = (Path(__file__).parents[2] / "docs" / "rivals.md").read_text()
    table = page.split("<!-- measured: solvers -->")[1].split("<!-- end -->")[0]
    rows = {
        cells[1].strip(" `"): cells
        for cells in (line.split("|") for line in table.splitlines() if line.startswith("| `"))
    }
    assert list(rows) == list(seeds.SOLVERS)
    for name, cells in rows.items():
        ode, weak = seeds.SOLVERS[name].orders()
        assert [cells[3].strip(), cells[6].strip()] == [str(ode), str(weak or "-")], name


def test_better_methods_take_larger_steps():
    steps = {
        name: largest_step(Subject(seeds.SOLVERS[name]).plan, most=48) for name in ("erk-1", "rk-2", "erk-2", "erk-3")
    }
    assert 0 < steps["erk-1"] < steps["rk-2"] < steps["erk-2"] < steps["erk-3"]
