"""Schedules against their formulas in 50 digits, at their ends and at SNR 0."""

import dataclasses
import math

import mpmath as mp
import numpy as np
import pytest

import seeds
from seeds.schedules import EDM, SCHEDULES, VE, VP, Cosine, Discrete, Flow, Rescaled, Schedule, schedule

mp.mp.dps = 50
ZERO_SNR = Discrete([0.9999, 0.9, 0.5, 0.1, 0.0])
ALL = [VP(), VP(19.1, 0.2), VE(), EDM(), Cosine(), Flow(), Discrete.linear(), Discrete.cosine(), ZERO_SNR]
ALL += [Rescaled(VP(), "none"), Rescaled(VE(), "vp"), Rescaled(EDM(), "vp"), Rescaled(Cosine(), "vp")]
CONTINUOUS = [s for s in ALL if not isinstance(s, Discrete)]


def names(s):
    return repr(s)


def times(s, count=401):
    """Spread over the whole domain: in logarithm from the clean end, and towards SNR 0 where there is one."""
    if isinstance(s, Discrete):
        return np.linspace(0.0, s.t_max, count)
    low = np.geomspace(1e-12, s.t_max / 2, count)
    return np.r_[
        low,
        1 - np.geomspace(1e-12, 0.49, count)[::-1]
        if isinstance(s, (Cosine, Flow))
        else np.linspace(0.51, 1, count) * s.t_max,
    ]


def exact_b(s, t):
    return mp.mpf(s.beta_d) / 2 * mp.mpf(t) ** 2 + mp.mpf(s.beta_min) * mp.mpf(t)


EXACT = {  # type -> (alpha, sigma) in mpmath
    VP: lambda s, t: (mp.exp(-exact_b(s, t) / 2), mp.sqrt(-mp.expm1(-exact_b(s, t)))),
    VE: lambda s, t: (mp.mpf(1), mp.sqrt(mp.mpf(t))),
    EDM: lambda s, t: (mp.mpf(1), mp.mpf(t)),
    Cosine: lambda s, t: (mp.cos(mp.pi / 2 * mp.mpf(t)), mp.sin(mp.pi / 2 * mp.mpf(t))),
    Flow: lambda s, t: (1 - mp.mpf(t), mp.mpf(t)),
    Rescaled: lambda s, t: rescaled(s.scaling, *EXACT[type(s.base)](s.base, t)),
}


def rescaled(scaling, alpha, sigma):
    scale = alpha if scaling == "none" else mp.sqrt(alpha**2 + sigma**2)
    return alpha / scale, sigma / scale


@pytest.mark.parametrize("s", CONTINUOUS, ids=names)
def test_every_quantity_keeps_its_digits(s):
    for t in times(s, 25):
        alpha, sigma = EXACT[type(s)](s, float(t))
        assert s.alpha(t) == pytest.approx(float(alpha), rel=1e-15)
        assert s.sigma(t) == pytest.approx(float(sigma), rel=1e-15)
        assert s.nsr(t) == pytest.approx(float(sigma / alpha), rel=1e-15)
        assert s.lam(t) == pytest.approx(float(mp.log(alpha / sigma)), rel=1e-15, abs=2e-16)


@pytest.mark.parametrize("s", ALL, ids=names)
def test_times_come_back(s):
    t = times(s)
    close = {"rtol": 0, "atol": 1e-12} if isinstance(s, Discrete) else {"rtol": 1e-13, "atol": 0}
    np.testing.assert_allclose(s.t_of_lam(s.lam(t)), t, **close)
    np.testing.assert_allclose(s.t_of_nsr(s.nsr(t)), t, **close)


@pytest.mark.parametrize("s", ALL, ids=names)
def test_noise_grows_with_time_and_the_quantities_agree(s):
    t = times(s)
    assert (np.diff(s.lam(t)) < 0).all() and (np.diff(s.nsr(t)) > 0).all()
    np.testing.assert_allclose(s.alpha(t), s.sigma(t) / s.nsr(t), rtol=1e-13)
    np.testing.assert_allclose(s.nsr(t), np.exp(-s.lam(t)), rtol=1e-13)


@pytest.mark.parametrize("s", ALL, ids=names)
def test_floats_and_arrays_give_the_same(s):
    t = np.array([s.t_min, (s.t_min + s.t_max) / 2, s.t_max])
    for f in (s.alpha, s.sigma, s.lam, s.nsr):
        assert isinstance(f(float(t[0])), float) and f(t).shape == (3,) and f(t.reshape(3, 1)).shape == (3, 1)
        assert [f(float(v)) for v in t] == f(t).tolist()
    for back, values in ((s.t_of_lam, s.lam(t)), (s.t_of_nsr, s.nsr(t))):
        assert isinstance(back(float(values[1])), float) and [back(float(v)) for v in values] == back(values).tolist()


def test_default_ends():
    assert VP().alpha(1.0) ** 2 == pytest.approx(np.exp(-(19.9 / 2 + 0.1)), rel=1e-14)
    assert VP().nsr(1.0) == pytest.approx(152.167, abs=1e-3) and VP().t_min == 1e-3
    assert VE().nsr(VE().t_min) == 0.02 and VE().nsr(VE().t_max) == 100
    assert (EDM().nsr(EDM().t_min), EDM().nsr(EDM().t_max)) == (0.002, 80)
    assert Cosine().nsr(Cosine().t_min) == pytest.approx(1 / Cosine().nsr(Cosine().t_max), rel=1e-12)
    assert Flow().t_max == 1 and Flow().nsr(Flow().t_min) == pytest.approx(1e-3 / 0.999)


@pytest.mark.parametrize("s", [Cosine(t_max=1.0), Flow(), ZERO_SNR], ids=names)
def test_snr_0_is_exact(s):
    assert (s.alpha(s.t_max), s.sigma(s.t_max), s.lam(s.t_max), s.nsr(s.t_max)) == (0, 1, -np.inf, np.inf)
    assert s.t_of_lam(-np.inf) == s.t_max and s.t_of_nsr(np.inf) == s.t_max


@pytest.mark.parametrize("s", [VP(), VE(), EDM()], ids=names)
def test_snr_0_out_of_reach_is_said(s):
    with pytest.raises(ValueError, match=f"{type(s).__name__} does not reach SNR 0"):
        s.t_of_lam(-np.inf)
    with pytest.raises(ValueError, match=f"{type(s).__name__} does not reach SNR 0"):
        s.t_of_nsr(np.inf)


@pytest.mark.parametrize("s", CONTINUOUS, ids=names)
def test_the_clean_end_is_exact(s):
    assert (s.alpha(0.0), s.sigma(0.0), s.lam(0.0), s.nsr(0.0)) == (1, 0, np.inf, 0)
    assert s.t_of_lam(np.inf) == 0 and s.t_of_nsr(0.0) == 0


@pytest.mark.parametrize("s", [Discrete.linear(), Discrete.cosine(), ZERO_SNR], ids=names)
def test_a_table_is_bit_exact_at_whole_steps(s):
    table, i = np.array(s.alphas_cumprod), np.arange(len(s.alphas_cumprod))
    assert (s.alpha(i) == np.sqrt(table)).all() and (s.sigma(i) == np.sqrt(1 - table)).all()
    assert (s.t_of_lam(s.lam(i)) == i).all() and (s.t_of_nsr(s.nsr(i)) == i).all()
    between = i[:-1] + 0.37
    np.testing.assert_allclose(s.alpha(between) ** 2 + s.sigma(between) ** 2, 1, rtol=1e-15)


def test_tables_of_ddpm():
    assert Discrete.linear().alphas_cumprod[-1] == pytest.approx(4.0358e-05, rel=1e-4)
    cosine = Discrete.cosine().alphas_cumprod
    assert cosine[499] == pytest.approx(
        np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2, rel=1e-12
    )
    assert cosine[-1] / cosine[-2] == pytest.approx(1e-3, rel=1e-9)  # the clipped beta, 0.999
    assert Discrete.cosine() == Discrete.cosine() and len({Discrete.linear(), Discrete.linear()}) == 1


def test_a_table_ends_in_snr_0_along_a_straight_alpha_over_sigma():
    ratio = 1 / ZERO_SNR.nsr(np.array([3.0, 3.25, 3.5, 3.75]))
    np.testing.assert_allclose(ratio / ratio[0], [1, 0.75, 0.5, 0.25], rtol=1e-14)


def test_rounding_goes_to_levels_of_the_table():
    s = Discrete.linear()
    levels = s.nsr(np.arange(1000))
    assert (s.round_nsr(levels) == levels).all()
    assert set(s.round_nsr(np.geomspace(1e-6, 1e6, 777))) <= set(levels)
    assert s.round_nsr(0.0) == levels[0] and s.round_nsr(np.inf) == levels[-1]
    assert s.round_nsr(np.sqrt(levels[500] * levels[501]) * 1.0001) == levels[501]
    assert ZERO_SNR.round_nsr(1e9) == np.inf and ZERO_SNR.round_nsr(3.1) == ZERO_SNR.nsr(3)
    assert s.indices([0.4, 2.6]).tolist() == [0, 3]


@pytest.mark.parametrize(
    "make, sentence",
    [
        (
            lambda: VP(beta_min=-0.01),
            r"`beta_min` = -0.01 must be finite and above 0, or so little below that b\(t\) > 0 from t_min = 0.001 on",
        ),
        (lambda: VP(beta_min=-0.005).alpha(1e-5), r"VP with beta_min = -0.005 has no level at t = 1e-05"),
        (lambda: VP(beta_d=-1.0), r"`beta_d` = -1.0 must be finite and at least 0"),
        (lambda: EDM(t_min=80, t_max=0.002), r"`t_min` = 80, `t_max` = 0.002, but 0 < t_min < t_max must hold"),
        (lambda: Flow(t_max=1.5), r"t_max <= 1 must hold"),
        (lambda: Flow().alpha(1.2), r"Flow is defined for 0 <= t <= 1, but t = 1.2"),
        (lambda: VP().lam([0.5, -0.1]), r"VP is defined for t >= 0, but t = -0.1"),
        (lambda: EDM().nsr(np.nan), r"but t = nan"),
        (lambda: EDM().t_of_lam(np.nan), r"`lam` is NaN"),
        (lambda: EDM().t_of_nsr(-1.0), r"`nsr` = -1 must be"),
        (lambda: Discrete([0.9]), r"shape \(1,\), but must be a row of at least 2"),
        (lambda: Discrete([1.0, 0.5]), r"`alphas_cumprod`\[0\] = 1, but every entry must be at least 0 and below 1"),
        (lambda: Discrete([0.5, np.nan]), r"`alphas_cumprod`\[1\] = nan"),
        (lambda: Discrete([0.1, 0.2]), r"\[0\] = 0.1 is followed by \[1\] = 0.2.*Discrete.from_betas"),
        (lambda: Discrete.linear().t_of_lam(10.0), r"lam from -5.05\d* to 4.6\d* .*lam = 10 .. 10 was asked for"),
        (lambda: Discrete.linear().lam(999.5), r"Discrete is defined for 0 <= t <= 999"),
        (lambda: schedule("discrete"), r"needs a table: pass Discrete\(alphas_cumprod\)"),
        (lambda: schedule("cosin"), r"There is no schedule 'cosin'. Did you mean 'cosine'\? Known: vp, ve, edm"),
        (lambda: schedule("zzzzz"), r"There is no schedule 'zzzzz'. Known: vp"),
    ],
)
def test_errors_say_what_to_do(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_lookup():
    assert schedule("vp") == VP() and schedule(own := Flow(t_min=0.01)) is own
    assert {name for name in SCHEDULES if name != "discrete"} == {
        type(s).__name__.lower() for s in CONTINUOUS if not isinstance(s, Rescaled)
    }
    with pytest.raises(TypeError, match="is a class: call it"):
        schedule(VP)
    with pytest.raises(TypeError, match="has no alpha, sigma"):
        schedule(3)


def test_schedules_are_frozen():
    for s in ALL:
        assert isinstance(s, Schedule)
        with pytest.raises(dataclasses.FrozenInstanceError):
            s.alphas_cumprod = ()


def test_rescaled_is_refused_where_it_means_nothing():
    with pytest.raises(ValueError, match="'vp' or 'none'"):
        Rescaled(VE(), "ve")
    assert Rescaled(Flow(), "vp").sigma(1.0) == 1 and Rescaled(Flow(), "vp").alpha(1.0) == 0
    with pytest.raises(ValueError, match="does not reach SNR 0"):
        Rescaled(Flow(), "none").sigma(1.0)


@pytest.mark.parametrize("beta_min", [0.0, -0.0048])
def test_vp_without_a_rate_at_0_or_with_one_below(beta_min):
    """As fits to a range of levels have it: t -> lam -> t, and the formula itself."""
    path, t = VP(17.6, beta_min), np.geomspace(1e-3, 1.0, 40)
    np.testing.assert_allclose(path.nsr(t), np.sqrt(np.expm1(17.6 * t**2 / 2 + beta_min * t)), rtol=1e-12)
    np.testing.assert_allclose(path.t_of_lam(path.lam(t)), t, rtol=1e-12)
    np.testing.assert_allclose(path.t_of_nsr(path.nsr(t)), t, rtol=1e-12)


class OfTwo(Schedule):
    """A schedule of one's own: alpha and sigma, and nothing else."""

    def __init__(self, alpha, sigma, **ends):
        self.alpha_of, self.sigma_of = alpha, sigma
        self.__dict__.update(ends)

    def alpha(self, t):
        return self.alpha_of(t)

    def sigma(self, t):
        return self.sigma_of(t)


def of_two(s):
    return OfTwo(s.alpha, s.sigma, t_min=s.t_min, t_max=s.t_max)


@pytest.mark.parametrize("s", CONTINUOUS, ids=names)
def test_alpha_and_sigma_are_enough(s):
    own, t = schedule(of_two(s)), times(s, 21)
    t = t[(t <= s.t_max) & (t > 1e-9)]
    np.testing.assert_allclose(own.lam(t), s.lam(t), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(own.nsr(t), s.nsr(t), rtol=1e-13)
    found = own.t_of_lam(own.lam(t))
    np.testing.assert_allclose(found, t, rtol=1e-12)
    np.testing.assert_allclose(own.t_of_nsr(own.nsr(t)), t, rtol=1e-12)
    assert isinstance(own.t_of_lam(0.0), float) and own.t_of_lam(np.zeros((2, 3))).shape == (2, 3)
    assert own.t_of_lam(np.inf) == 0 == own.t_of_nsr(0.0)


@pytest.mark.parametrize("solver", ["seeds-3", "erk-2", "rk-2", "euler-maruyama", "adams"])
def test_a_schedule_of_ones_own_makes_the_same_plan(solver):
    for s in (VP(), Flow(), EDM()):
        ours, own = (seeds.plan(solver, steps=4, schedule=path) for path in (s, of_two(s)))
        for a, b in zip(ours.rows, own.rows, strict=True):
            np.testing.assert_allclose(
                [w for part in "xdz" for _, w in getattr(a, part)],
                [w for part in "xdz" for _, w in getattr(b, part)],
                rtol=1e-9,
            )


def test_the_search_goes_beyond_t_max_where_the_schedule_does():
    own = OfTwo(lambda t: np.ones_like(t), lambda t: t, t_max=80.0)
    np.testing.assert_allclose(own.t_of_nsr([1e-300, 1e-5, 80.0, 1e4]), [1e-300, 1e-5, 80.0, 1e4], rtol=1e-12)
    short = OfTwo(Cosine().alpha, Cosine().sigma, t_max=0.9)  # refuses t > 1
    assert short.t_of_nsr(100.0) == pytest.approx(Cosine().t_of_nsr(100.0), rel=1e-12)


def test_an_alpha_of_one_number_will_do():
    own = OfTwo(lambda t: 1.0, lambda t: t, t_min=0.002, t_max=80.0)
    assert seeds.plan("seeds-2", steps=3, schedule=own).nfe == seeds.plan("seeds-2", steps=3, schedule="edm").nfe


def test_snr_0_of_ones_own_is_where_alpha_is_0_exactly():
    own = OfTwo(lambda t: 1 - t, lambda t: t)
    assert own.t_of_lam(-np.inf) == 1 == own.t_of_nsr(np.inf) and own.lam(1.0) == -np.inf
    assert own.t_of_lam(-30.0) == pytest.approx(1.0, abs=1e-12) and own.t_of_lam(-30.0) < 1
    plan = seeds.plan("seeds-2", steps=3, schedule=own)
    assert plan.start.alpha == 0 and plan.about["schedule"] == {"name": "OfTwo"}
    x = seeds.sample(lambda x, at: 0.5 * x, (2,), seed=1, plan=plan)
    np.testing.assert_allclose(
        x, seeds.sample(lambda x, at: 0.5 * x, (2,), seed=1, solver="seeds-2", steps=3, schedule="flow"), rtol=1e-5
    )


@pytest.mark.parametrize(("make", "words"), [
    (lambda: OfTwo(lambda t: 1 - t, lambda t: t, t_max=0.0), "`t_max` = 0.0, but 0 <= t_min < t_max"),
    (lambda: OfTwo(math.cos, math.sin), r"alpha\(t\) and sigma\(t\) are asked with a row of times, .* functions of "
                                        r"numpy, as np.cos, and not of math"),
    (lambda: OfTwo(lambda t: t, lambda t: 1 - t, t_max=0.9),
        "must rise: noise grows with t here. If your time runs from noise to data, take 1 - t"),
    (lambda: OfTwo(lambda t: np.cos(np.pi / 2 * t), lambda t: np.sin(np.pi / 2 * t)),
        r"alpha at t_max = 1 is 6e-17, which is 0 but for rounding"),
    (lambda: OfTwo(lambda t: 1 - t, lambda t: t - 0.5),
        "both must be finite, sigma above 0, and alpha too, but at t_max"),
])  # fmt: skip
def test_a_wrong_schedule_of_ones_own_is_told_why(make, words):
    with pytest.raises(ValueError, match=words):
        schedule(make())


@pytest.mark.parametrize(("own", "lam"), [
    (OfTwo(lambda t: 1.0 - 0.5 * t, lambda t: 0.1 + t), 3.0), (OfTwo(lambda t: 2 - t, lambda t: t), -np.inf),
    (OfTwo(lambda t: 1.0, lambda t: 0.1 + t), np.inf),
    (OfTwo(lambda t: np.ones_like(t), lambda t: np.minimum(t, 5.0)), -2.0),
])  # fmt: skip
def test_a_level_that_is_not_there_is_named(own, lam):
    with pytest.raises(
        ValueError, match=rf"OfTwo does not reach lam = {lam:g} \(nsr = .*\): its lam is .* at t_max = 1 and"
    ):
        own.t_of_lam(lam)


def test_what_has_alpha_alone_is_told_to_inherit():
    class Bare:
        def alpha(self, t):
            return 1 - t

    with pytest.raises(
        TypeError, match=r"has no sigma, lam, nsr, .* Let it inherit from seeds.Schedule, which makes the rest"
    ):
        schedule(Bare())
