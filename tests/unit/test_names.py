"""Names: the registry's own, those that others use for the same thing, and what is said of the rest."""

import pytest

import seeds
from seeds.names import EXPLAINED, OTHER, lookup, resolve
from seeds.predictions import OUTPUTS

REGISTRIES = {
    "output": dict.fromkeys(OUTPUTS),
    "prediction": seeds.PREDICTIONS,
    "solver": seeds.SOLVERS,
    "schedule": seeds.SCHEDULES,
    "grid": seeds.GRIDS,
}


@pytest.mark.parametrize(("kind", "theirs"), [(kind, name) for kind, names in OTHER.items() for name in names])
def test_the_usual_other_names_lead_to_the_right_one(kind, theirs):
    registry = REGISTRIES[kind]
    assert resolve(kind, theirs, registry) == OTHER[kind][theirs]
    assert lookup(kind, theirs, registry) is registry[OTHER[kind][theirs]]


def test_case_and_hyphens_do_not_matter_where_a_kind_is_known():
    assert (
        resolve("solver", "SEEDS_3", seeds.SOLVERS) == "seeds-3"
        and resolve("prediction", "V-prediction", seeds.PREDICTIONS) == "v"
    )
    with pytest.raises(ValueError, match=r"There is no --disc 'EDM'\. Did you mean 'edm'\? Known: edm, vp"):
        resolve("--disc", "EDM", {"edm": 1, "vp": 2})


@pytest.mark.parametrize(("kind", "name", "words"), [
    ("prediction", "velocity", r"'v' is alpha eps - sigma data, 'flow' is eps - data. Say which. Known: data, noise"),
    ("prediction", "score", r"multiply it by -sigma, and say 'noise'"),
    ("solver", "unipc-3", r"There is no solver 'unipc-3'. Did you mean 'unipc'"),
    ("solver", "EVODiff", "Its numbers depend on the image, so it is no plan"),
    ("solver", "gDDIM", "it is DDIM: 'ddim'"),
    ("schedule", "ddpm", r"seeds.Discrete.linear\(\), its continuous form 'vp'"),
    ("solver", "seeds3", r"Did you mean 'seeds-3'"),
    ("grid", "kerras", "Did you mean 'karras'"),
    ("solver", "nothing at all", r"There is no solver 'nothing at all'. Known: seeds-1"),
])  # fmt: skip
def test_a_name_that_is_refused_says_what_to_take(kind, name, words):
    with pytest.raises(ValueError, match=words):
        lookup(kind, name, REGISTRIES[kind])


def test_no_other_name_hides_a_name_of_ours():
    for kind, registry in REGISTRIES.items():
        assert set(OTHER.get(kind, {}).values()) <= set(registry)
        assert not {*OTHER.get(kind, {}), *EXPLAINED.get(kind, {})} & set(registry)


def test_other_names_make_the_same_plan():
    by_ours = seeds.plan("rk-2", steps=4, schedule="vp")
    assert seeds.plan("Heun", steps=4, schedule="vp") == by_ours
