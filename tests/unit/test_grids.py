"""Grids: their ends to the bit, their inside against the published formulas."""

import numpy as np
import pytest
import scipy.stats
from diffusers.schedulers import AysSchedules

import seeds
from seeds.grids import (
    AYS_TABLES,
    GRIDS,
    SNR0_AS,
    atan,
    ays,
    beta,
    check_falling,
    curve,
    custom,
    deis,
    grid,
    iddpm,
    karras,
    linear_t,
    uniform_lam,
    ve,
    vp,
    vp_betas,
)
from seeds.schedules import EDM, VE, VP, Cosine, Discrete, Flow

ZERO_SNR = Discrete([*np.linspace(0.9999, 0.01, 500), 0.0])
SCHEDULES = [VP(), VE(), EDM(), Cosine(), Flow(), Discrete.linear(), Discrete.cosine()]
BY_LEVEL = [name for name in GRIDS if name not in ("linear_t", "sgm_uniform", "beta")]  # the others are spaced in t


@pytest.mark.parametrize("build", [karras, uniform_lam, linear_t, beta, atan, curve])
@pytest.mark.parametrize("s", [*SCHEDULES, ZERO_SNR], ids=repr)
def test_default_ends_are_the_schedules_own_to_the_bit(s, build):
    for steps in (1, 2, 7, 100):
        t = build(s, steps)
        assert t.shape == (steps + 1,) and t.dtype == np.float64 and (np.diff(t) < 0).all()
        assert t[0] == s.t_max and t[-1] == s.t_min


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("s", SCHEDULES, ids=repr)
def test_given_ends_are_the_schedules_own_times(s, name):
    t = GRIDS[name](s, 5, nsr_min=0.0123, nsr_max=34.5)
    assert t.shape == (6,) and (np.diff(t) < 0).all()
    if name == "iddpm":
        assert 0.0123 <= s.nsr(t[-1]) < 0.015 and 33 < s.nsr(t[0]) <= 34.5
    elif name == "sgm_uniform":
        assert t[0] == s.t_of_nsr(34.5) and t[-1] == linear_t(s, 6, nsr_min=0.0123, nsr_max=34.5)[-2]
    else:
        assert t[0] == s.t_of_nsr(34.5) and t[-1] == s.t_of_nsr(0.0123)


@pytest.mark.parametrize("name", BY_LEVEL)
def test_every_schedule_gets_the_same_levels(name):
    levels = [s.nsr(GRIDS[name](s, 9, nsr_min=0.0123, nsr_max=34.5)) for s in SCHEDULES]
    np.testing.assert_allclose(levels, np.broadcast_to(levels[0], np.shape(levels)), rtol=1e-11)


def test_karras():
    i = np.arange(18)
    published = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(karras(EDM(), 17), published, rtol=1e-13)
    np.testing.assert_allclose(karras(EDM(), 2, rho=1.0)[1], (80 + 0.002) / 2, rtol=1e-14)
    np.testing.assert_allclose(karras(EDM(), 8, rho=1e6), uniform_lam(EDM(), 8), rtol=1e-4)


def test_uniform_lam():
    for s in SCHEDULES:
        np.testing.assert_allclose(np.diff(s.lam(uniform_lam(s, 12, nsr_max=34.5)), n=2), 0, atol=1e-12)


def test_vp_is_linear_in_vp_time():
    np.testing.assert_allclose(vp(VP(), 5), np.linspace(1, 1e-3, 6), rtol=1e-13)
    assert (vp(VP(), 5)[0], vp(VP(), 5)[-1]) == (1, 1e-3)
    other = VP(19.1, 0.1)
    np.testing.assert_allclose(vp(EDM(), 5, beta_d=19.1), other.nsr(np.linspace(1, 1e-3, 6)), rtol=1e-13)
    assert vp(EDM(), 5, epsilon_s=1e-2)[-1] == VP().nsr(1e-2)


def test_vp_betas_pass_through_both_levels():
    assert vp_betas(VP().nsr(1e-3), VP().nsr(1.0)) == pytest.approx((19.9, 0.1), rel=1e-12)
    fitted = VP(*vp_betas(0.02, 100.0))
    assert (fitted.nsr(1e-3), fitted.nsr(1.0)) == pytest.approx((0.02, 100.0), rel=1e-12)


def test_ve():
    published = 100**2 * (0.02**2 / 100**2) ** (np.arange(11) / 10)
    np.testing.assert_allclose(ve(VE(), 10), published, rtol=1e-13)
    assert (ve(EDM(), 10)[0], ve(EDM(), 10)[-1]) == (100, 0.02) and (ve(EDM(), 10, nsr_max=None) == ve(EDM(), 10)).all()


def test_iddpm():
    abar = np.sin(np.pi / 2 * np.arange(1001) / 1000 / 1.008) ** 2
    t = iddpm(EDM(), 991)  # all of them: u_8 .. u_999
    np.testing.assert_allclose(t, np.sqrt(abar[1000] / abar[8:1000] - 1), rtol=1e-9)  # the closed form where c1 is idle
    assert iddpm(EDM(), 17)[0] == t[0] == pytest.approx(80.2037, rel=1e-6)
    np.testing.assert_array_equal(iddpm(EDM(), 17), t[np.floor(991 / 17 * np.arange(18) + 0.5).astype(int)])
    assert iddpm(EDM(), 4)[2] == t[496]  # half of 991, rounded up
    # with c1 at work
    assert iddpm(EDM(), 999, nsr_min=0, nsr_max=np.inf)[[0, 1]] == pytest.approx([20291.17, 641.66], rel=1e-5)


@pytest.mark.parametrize("s", [Flow(), ZERO_SNR, Cosine(t_max=1.0)], ids=repr)
@pytest.mark.parametrize("build", [karras, uniform_lam])
def test_a_start_at_snr_0_replaces_the_first_level(s, build):
    t, finite = build(s, 6), build(s, 6, nsr_max=SNR0_AS)
    assert s.alpha(t[0]) == 0 and finite[0] == s.t_of_nsr(SNR0_AS)
    np.testing.assert_allclose(t[1:], finite[1:], rtol=1e-12)
    assert build(s, 1, nsr_max=np.inf).tolist() == [s.t_max, s.t_min]


def test_own_grids_are_used_bit_for_bit():
    mine = np.array([0.9, 0.3, 1e-5])
    assert custom(VP(), mine).tobytes() == mine.tobytes() and grid(mine, VP()).tobytes() == mine.tobytes()
    assert grid([1.0, 0.5], Flow(), 1).tolist() == [1.0, 0.5]
    mine[0] = 0.1
    assert custom(VP(), [0.9, 0.3])[0] == 0.9


def test_lookup():
    assert (grid("karras", EDM(), 5, rho=3.0) == karras(EDM(), 5, rho=3.0)).all()
    assert list(GRIDS)[:2] == ["karras", "uniform_lam"] and all(build.__doc__ for build in GRIDS.values())


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: karras(EDM(), 0), r"`steps` = 0 must be a whole number, at least 1"),
        (lambda: karras(EDM(), 2.5), r"`steps` = 2.5 must be"),
        (lambda: iddpm(EDM(), -3), r"`steps` = -3 must be"),
        (lambda: linear_t(EDM(), True), r"`steps` = True must be"),
        (lambda: karras(EDM(), 5, rho=0.0), r"`rho` = 0.0 must be a finite number above 0"),
        (lambda: karras(EDM(), 5, nsr_min=3.0, nsr_max=2.0), r"`nsr_min` = 3 must be above 0 and below `nsr_max` = 2"),
        (lambda: ve(EDM(), 5, nsr_min=0.0), r"`nsr_min` = 0 must be above 0"),
        (
            lambda: karras(Flow(), 5, nsr_min=90.0),
            r"`nsr_min` = 90 must be below 80 where the grid starts at SNR 0. Give a finite",
        ),
        (lambda: karras(VP(), 5, nsr_max=np.inf), r"VP does not reach SNR 0"),
        (lambda: karras(EDM(t_min=1.0, t_max=1 + 1e-15), 50), r"`steps` = 50 is more than float64 can tell apart"),
        (lambda: ve(Discrete.linear(), 5, nsr_min=1e-4), r"lam from .* Keep `nsr_min` and `nsr_max` inside the table"),
        (lambda: iddpm(EDM(), 992), r"`steps` = 992 needs 993 levels, but improved DDPM's table \(m = 1000\) has 992"),
        (lambda: iddpm(EDM(), 5, c1=2.0), r"`c1` = 2.0"),
        (lambda: custom(VP(), [0.1, 0.9]), r"t\[0\] = 0.1 is followed by t\[1\] = 0.9.*pass t\[::-1\]"),
        (lambda: custom(VP(), [0.9, 0.5, 0.5]), r"t\[1\] = 0.5 is followed by t\[2\] = 0.5"),
        (lambda: custom(VP(), [0.9]), r"`t` has shape \(1,\), but must be a row of at least 2 numbers"),
        (lambda: custom(VP(), [0.9, np.nan]), r"`t`\[1\] = nan is not finite"),
        (lambda: custom(EDM(), [80.0, 0.0]), r"`t` ends at t = 0, where there is no noise.*final=\"denoise\""),
        (lambda: custom(Flow(), [1.2, 0.1]), r"Flow is defined for 0 <= t <= 1, but t = 1.2"),
        (lambda: check_falling("sigmas", np.array([1.0, 2.0])), r"`sigmas` must fall strictly.*pass sigmas\[::-1\]"),
        (lambda: grid("karas", EDM(), 5), r"There is no grid 'karas'. Did you mean 'karras'\?"),
        (lambda: grid("karras", EDM()), r"`steps` is missing"),
        (lambda: grid([3.0, 1.0], EDM(), 2), r"`steps` = 2, but the grid given has 2 levels, that is 1 steps"),
        (lambda: grid([3.0, 1.0], EDM(), rho=7), r"`rho` shape a named grid, but `grid` is an array"),
    ],
)
def test_errors_say_what_to_do(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_beta_is_the_laws_quantiles_in_t():
    for shape in ((0.6, 0.6), (1.0, 1.0), (2.0, 0.8)):
        t = beta(Flow(t_max=0.9), 12, alpha=shape[0], beta=shape[1])
        want = 0.001 + scipy.stats.beta.ppf(np.linspace(1, 0, 13), *shape) * (0.9 - 0.001)
        np.testing.assert_allclose(t, want, rtol=0, atol=2e-5)


def test_curve_steps_go_from_first_over_middle_to_last():
    h = np.diff(-np.log(curve(EDM(), 4, first=0.5, middle=1.0, last=2.0)))
    np.testing.assert_allclose(h / h[1], np.array([0.625, 0.875, 1.25, 1.75]) / 0.875, rtol=1e-9)
    np.testing.assert_allclose(curve(EDM(), 9), uniform_lam(EDM(), 9), rtol=1e-12)


def test_atan_is_dense_at_its_centre_and_uniform_in_lam_where_wide():
    t = atan(EDM(), 40, centre=1.5, width=1.0)
    h = np.diff(-np.log(t))
    assert t[np.argmin(h)] == pytest.approx(1.5, rel=0.2)
    np.testing.assert_allclose(atan(EDM(), 9, width=1e4), uniform_lam(EDM(), 9), rtol=1e-4)


def test_ays_has_the_published_levels_and_others_between_them():
    np.testing.assert_allclose(ays(EDM(), 10, table="sd1")[[0, 3, 10]], [14.615, 2.697, 0.029], rtol=1e-12)
    np.testing.assert_allclose(ays(EDM(), 20)[1], np.sqrt(14.615 * 6.315), rtol=1e-12)
    with pytest.raises(ValueError, match=r"There is no AYS table .sd15.\. Did you mean"):
        ays(EDM(), 10, table="sd15")


@pytest.mark.parametrize(
    ("table", "theirs"), [("sd1", "StableDiffusion"), ("sdxl", "StableDiffusionXL"), ("svd", "StableDiffusionVideo")]
)
def test_aligned_levels_are_those_that_diffusers_has(table, theirs):
    """But for the last, where it has the clean end."""
    assert list(AYS_TABLES[table][:-1]) == AysSchedules[f"{theirs}Sigmas"][:-1]
    assert AYS_TABLES[table][-1] == {"svd": 0.002}.get(table, 0.029)


@pytest.mark.parametrize(("name", "published"), [
    ("deis", {"power": 2.0}), ("beta", {"alpha": 0.6, "beta": 0.6}), ("kl_optimal", {"std": 1.0}),
    ("ays", {"table": "sdxl"}), ("iddpm", {"c1": 0.001, "c2": 0.008, "m": 1000}),
])  # fmt: skip
def test_the_shapes_that_none_are_given_for_are_the_published_ones(name, published):
    assert np.array_equal(grid(name, VP(), 9), grid(name, VP(), 9, **published))


def test_deis_is_even_in_a_power_of_vps_t():
    levels, own = EDM().nsr(grid("deis", EDM(), 6, power=2.0)), VP()
    np.testing.assert_allclose(np.diff(own.t_of_nsr(levels) ** 0.5, 2), 0, atol=1e-12)
    np.testing.assert_allclose(deis(VP(), 7, power=1.0), vp(VP(), 7), rtol=1e-9)


def test_kl_optimal_is_even_in_the_arc_tangent():
    np.testing.assert_allclose(np.diff(np.arctan(grid("kl_optimal", EDM(), 6, std=0.5) / 0.5), 2), 0, atol=1e-12)


@pytest.mark.parametrize("name", GRIDS)
def test_ends_may_depend_on_the_number_of_steps(name):
    def low(steps):
        return 0.5 / steps

    for steps in (4, 20):
        fixed = grid(name, EDM(), steps, nsr_min=0.5 / steps, nsr_max=30.0)
        assert (grid(name, EDM(), steps, nsr_min=low, nsr_max=lambda n: 30.0) == fixed).all()
    made = seeds.plan("erk-1", nfe=11, schedule="edm", grid=name, nsr_min=low, nsr_max=30.0)
    assert made == seeds.plan("erk-1", steps=10, schedule="edm", grid=name, nsr_min=0.05, nsr_max=30.0)
    assert made.about["grid"]["nsr_min"] == 0.05


def test_an_end_that_is_no_level_is_refused():
    with pytest.raises(
        ValueError, match=r"`nsr_min` is a function of the number of steps, but for 5 steps it gives '0.1'"
    ):
        grid("karras", EDM(), 5, nsr_min=lambda steps: "0.1")
    with pytest.raises(ValueError, match="`nsr_min` shape a named grid"):
        seeds.plan("erk-1", schedule="edm", grid=[3.0, 1.0], nsr_min=lambda steps: 0.1)


def test_a_networks_range_bounds_the_end_that_is_not_given():
    model = seeds.wrap(lambda x, t: x, output="data", schedule="edm", nsr_range=(0.01, 40.0))
    made = seeds.plan_for(model, "erk-1", nfe=6, nsr_min=lambda steps: 0.1 / steps)
    assert made.start.nsr == 40 and made.rows[-1].at.nsr == pytest.approx(0.02)


@pytest.mark.parametrize("how,words", [
    ({"which": "kl_optimal", "std": 0.0}, "`std` = 0.0 must be a finite number above 0"),
    ({"which": "deis", "power": 0.0}, "`power` = 0.0 must be a finite number above 0"),
    ({"which": "beta", "alpha": 0.0}, "`alpha` = 0.0 and `beta` = 0.6 must be above 0"),
    ({"which": "atan", "width": -1.0}, "`centre` = 2.0 and `width` = -1.0 must be above 0"),
    ({"which": "curve", "last": 0.0}, "`first`, `middle` and `last` = 1.0, 1.0, 0.0"),
])  # fmt: skip
def test_shapes_that_make_no_grid_are_refused(how, words):
    with pytest.raises(ValueError, match=words):
        grid(how.pop("which"), EDM(), 5, **how)
