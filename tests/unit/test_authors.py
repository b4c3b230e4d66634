"""The authors' spelling, option by option, and as whole command lines."""

from pathlib import Path

import numpy as np
import pytest

import seeds
from seeds import EDM, VE, VP
from seeds.cli import authors
from seeds.cli.authors import translate
from seeds.cli.options import arguments
from seeds.grids import vp
from seeds.schedules import Rescaled

EDM_LEVELS = {"nsr_min": 0.002, "nsr_max": 80.0}
SERK = {"solver": "etd-serk"}

CASES = [
    (SERK, {"solver": "seeds-3", "steps": 17, "grid": "karras", "prediction": "data", "schedule": EDM(), **EDM_LEVELS}),
    (SERK | {"order": 1}, {"solver": "seeds-1"}),
    ({"solver": "etd-erk", "order": 4}, {"solver": "erk-4"}),
    ({"solver": "rk"}, {"solver": "rk-2", "variable": "t"}),
    ({"solver": "rk", "order": 1, "S_churn": 40.0, "S_min": 0.05, "S_max": 50.0}, {"S_churn": 40.0, "S_min": 0.05, "S_max": 50.0}),
    ({"solver": "rk", "c2": 0.5}, {"solver": "rk-2", "r": 0.5}),
    (SERK | {"steps": 2}, {"steps": 1}),
    (SERK | {"noise_pred": True}, {"prediction": "noise"}),
    (SERK | {"noise_pred": False}, {"prediction": "data"}),
    (SERK | {"order": 2, "c2": 0.9, "butcher_type": "2b"}, {"r": 0.9, "variant": "2b"}),
    (SERK | {"order": 3, "c2": 0.25, "butcher_type": "3b"}, {"r": (0.25, 2 / 3), "variant": "3b"}),
    (SERK | {"noise_type": "discrete"}, {"noise": "two-point"}),
    (SERK | {"noise_type": "gaussian"}, {"noise": "gaussian"}),
    (SERK | {"disc": "ve"}, {"grid": "ve", "nsr_min": 0.02, "nsr_max": 100.0}),
    (SERK | {"disc": "iddpm"}, {"grid": "iddpm", "nsr_min": 0.002, "nsr_max": 81.0}),
    (SERK | {"disc": "edm", "rho": 5.0}, {"grid": "karras", "rho": 5.0}),
    (SERK | {"nsr_min": 0.1, "nsr_max": 10.0, "s_noise": 1.003}, {"nsr_min": 0.1, "nsr_max": 10.0, "s_noise": 1.003}),
    (SERK | {"final": "none"}, {"final": "none"}),
    (SERK | {"schedule": "ve"}, {"schedule": VE()}),
    (SERK | {"schedule": "ve", "scaling": "vp"}, {"schedule": Rescaled(VE(), "vp")}),
    (SERK | {"schedule": "linear", "scaling": "vp"}, {"schedule": Rescaled(EDM(), "vp")}),
    (SERK | {"schedule": "vp", "scaling": "vp"}, {"schedule": VP(19.9, 0.1)}),  # no VP schedule goes from 0.002 to 80
    (SERK | {"disc": "vp", "nsr_min": 0.1, "nsr_max": 10.0}, {"grid": "vp", "beta_d": 19.9, "beta_min": 0.1}),  # nor from 0.1 to 10
    (SERK | {"schedule": "vp"}, {"schedule": Rescaled(VP(19.9, 0.1), "none")}),
]


@pytest.mark.parametrize(("theirs", "ours"), CASES, ids=str)
def test_options_are_translated(theirs, ours):
    found = translate(theirs)
    assert found | ours == found
    found.pop("noise", None)
    seeds.plan(**found)


def test_what_means_nothing_here_changes_nothing():
    assert translate(SERK | {"order": 1, "c2": 0.3, "butcher_type": "2b"}) == translate(SERK | {"order": 1})
    assert translate({"solver": "rk", "noise_pred": True, "butcher_type": "2a"}) == translate({"solver": "rk"})
    assert translate(SERK | {"S_churn": 0.0, "S_max": 50.0}) == translate(SERK)
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
        vp(EDM(), 4, nsr_min=0.01, nsr_max=50.0, beta_d=own.beta_d, beta_min=own.beta_min), own.nsr(np.linspace(1, 1e-3, 5))
    )


def test_the_range_is_kept_inside_the_network_s():
    assert translate(SERK, nsr_range=(0.01, 50.0)) | {"nsr_min": 0.01, "nsr_max": 50.0} == translate(SERK, nsr_range=(0.01, 50.0))
    assert translate(SERK, nsr_range=(0.0001, 500.0)) == translate(SERK)


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
        (SERK | {"butcher_type": "2a"}, "order 3 has 3a or 3b"),
        (SERK | {"S_churn": 40.0}, "`--S_churn` = 40 belongs to --solver rk"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(theirs, words):
    with pytest.raises(ValueError, match=words):
        translate(theirs)


@pytest.mark.parametrize("name", ["grid", "sigmas", "prediction", "eta", "variant", "r", "noise"])
def test_our_words_do_not_mix_with_theirs(name):
    with pytest.raises(ValueError, match=f"`--{name}` is of another spelling than `--solver etd-serk`"):
        arguments({"solver": "etd-serk", name: "x"})


@pytest.mark.parametrize("name", authors.ONLY)
def test_their_words_do_not_mix_with_ours(name):
    with pytest.raises(ValueError, match=f"`--{name}` is of the authors' spelling, which needs --solver etd-serk or etd-erk or rk"):
        arguments({"solver": "seeds-2", name: "x"})


def test_the_page_is_the_table():
    page = Path(__file__).parents[2] / "docs" / "authors-options.md"
    assert page.read_text() == authors.page(), "write it anew: python -c 'from seeds.cli import authors; print(authors.page(), end=\"\")'"


def test_the_table_has_every_option_there_is():
    listed = " ".join(line.theirs for line in authors.TABLE)
    options = "solver order steps noise_pred disc schedule scaling c2 butcher_type noise_type sigma_min sigma_max rho"
    for name in (*options.split(), "S_churn", "S_min", "S_max", "S_noise", "outdir", "seeds", *authors.ONLY):
        assert f"--{name}" in listed
