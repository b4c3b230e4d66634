"""The affine maps between a network's output, the interpolated quantity and the data, by their meaning."""

import math

import numpy as np
import pytest

from seeds.plans import Point
from seeds.predictions import OUTPUTS, PREDICTIONS, Affine, edm_raw, output

SD = 0.6
NSR = np.geomspace(1e-4, 1e4, 41)
LEVELS = [
    Point(0.4, 0.6, 0.4),
    Point(0.3, math.sqrt(1 - 0.09), 0.3),
    Point(3.0, 1.0, 3.0),
    Point(0.999, 1e-3, 0.999),
    Point(1e-3, 1.0, 1e-3),
]
DATA, EPS = 0.7, -1.3

# what a perfect network is trained to say, at x = alpha data + sigma eps
TRUTH = {
    "data": lambda at: DATA,
    "noise": lambda at: EPS,
    "v": lambda at: at.alpha * EPS - at.sigma * DATA,
    "flow": lambda at: EPS - DATA,
    "score": lambda at: -EPS / at.sigma,
    # Karras et al. 2022, Table 1: F = (D - c_skip y) / c_out
    "edm_raw": lambda at: (
        (DATA - SD**2 / (at.nsr**2 + SD**2) * (DATA + at.nsr * EPS)) / (at.nsr * SD / math.sqrt(at.nsr**2 + SD**2))
    ),
}

# the interpolated quantity of theory section 3, from data and eps; v and edm_raw in units of y, whatever the schedule
QUANTITY = {
    "data": lambda nsr: DATA,
    "noise": lambda nsr: EPS,
    "v": lambda nsr: (EPS - nsr * DATA) / np.sqrt(1 + nsr**2),
    "flow": lambda nsr: EPS - DATA,
    "edm_raw": lambda nsr: (nsr * DATA - SD**2 * EPS) / (SD * np.sqrt(nsr**2 + SD**2)),
}


@pytest.mark.parametrize("at", LEVELS, ids=lambda at: f"nsr {at.nsr:g}")
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_perfect_network_gives_back_the_data(name, at):
    _, skip, out = output(name, at, SD)
    assert skip * (at.alpha * DATA + at.sigma * EPS) + out * TRUTH[name](at) == pytest.approx(DATA, rel=1e-11)


@pytest.mark.parametrize("at", LEVELS, ids=lambda at: f"nsr {at.nsr:g}")
def test_what_the_network_is_given(at):
    """Only raw F wants another input: c_in y, of unit variance on data of standard deviation sd."""
    assert all(output(name, at, SD).scale == 1 for name in PREDICTIONS if name != "edm_raw")
    assert output("edm_raw", at, SD).scale * at.alpha == pytest.approx(1 / math.sqrt(at.nsr**2 + SD**2), rel=1e-14)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_interpolated_quantity_gives_back_the_data(name):
    form = PREDICTIONS[name](SD) if name == "edm_raw" else PREDICTIONS[name]()
    y = DATA + NSR * EPS
    np.testing.assert_allclose(form.p(NSR) * y + form.q(NSR) * QUANTITY[name](NSR), DATA, rtol=1e-11)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_p1_is_1_minus_p_with_its_digits(name):
    form = PREDICTIONS[name](SD) if name == "edm_raw" else PREDICTIONS[name]()
    np.testing.assert_allclose(form.p(NSR) + form.p1(NSR), 1, rtol=1e-15)
    power = {"data": 0, "flow": 1, "v": 2, "edm_raw": 2}.get(name)
    if power is not None:  # near the clean end 1 - p falls as nsr^power, far below the rounding of 1
        assert form.p1(np.array([1e-12]))[0] == pytest.approx(
            {"edm_raw": 1 / SD**2}.get(name, 1.0) * 1e-12**power, rel=1e-11
        )


@pytest.mark.parametrize("name", PREDICTIONS)
def test_output_and_interpolated_quantity_agree_where_alpha_is_1(name):
    """Both say D = p y + q F there, but for v, which as an output is scaled by the schedule's own alpha and sigma:
    there they agree on the unit circle."""
    form = PREDICTIONS[name](SD) if name == "edm_raw" else PREDICTIONS[name]()
    for nsr in (0.01, 0.7, 30.0):
        at = Point(nsr, 1 / math.hypot(1, nsr), nsr / math.hypot(1, nsr)) if name == "v" else Point(nsr, 1.0, nsr)
        _, skip, out = output(name, at, SD)
        assert skip * at.alpha == pytest.approx(float(form.p(np.array([nsr]))[0]), rel=1e-14, abs=1e-300)
        assert out == pytest.approx(float(form.q(np.array([nsr]))[0]), rel=1e-14)


def test_raw_f_of_unit_data_is_minus_v():
    v, raw = PREDICTIONS["v"](), edm_raw(1.0)
    np.testing.assert_allclose(raw.q(NSR), -v.q(NSR), rtol=1e-15)
    np.testing.assert_allclose(raw.p(NSR), v.p(NSR), rtol=1e-15)
    assert edm_raw().q(np.array([1.0]))[0] == edm_raw(0.5).q(np.array([1.0]))[0]


def test_at_snr_0():
    zero = Point(1.0, 0.0, 1.0)
    assert output("v", zero) == Affine(1.0, 0.0, -1.0) and output("flow", zero) == Affine(1.0, 1.0, -1.0)
    assert output("data", zero) == Affine(1.0, 0.0, 1.0) and output("edm_raw", zero, SD) == Affine(1.0, 0.0, SD)
    for name in ("noise", "score"):
        with pytest.raises(ValueError, match=rf"output '{name}' cannot say D at SNR 0 .*start=\('nsr', 100\)"):
            output(name, zero)


@pytest.mark.parametrize("sd", [0.0, -1.0, math.inf, math.nan])
def test_wrong_options_are_named(sd):
    with pytest.raises(ValueError, match="`sd`, the standard deviation of the data, must be positive and finite"):
        edm_raw(sd)
    with pytest.raises(ValueError, match="`output` must be one of data, noise, v, flow, edm_raw, score, but is 'x0'"):
        output("x0", LEVELS[0])
