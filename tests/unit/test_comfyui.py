"""The nodes of ComfyUI, in a stub of the protocol that it documents: a KSAMPLER calls a sampler function with sigmas,
and wraps the model in its mask."""

import importlib.util
import json
import math
import sys
import types
from pathlib import Path

import pytest
import tomllib
import torch

import seeds
from seeds import auto, noise
from seeds.exact import Gaussian
from seeds.plans import Point

FOLDER = Path(__file__).parents[2] / "comfyui"


class CONST:
    """Flow: x = (1 - sigma) latent + sigma noise."""

    def noise_scaling(self, sigma, noise, latent, max_denoise=False):
        return sigma * noise + (1 - sigma) * latent

    def inverse_noise_scaling(self, sigma, latent):
        return latent / (1 - sigma)


class EPS:
    def noise_scaling(self, sigma, noise, latent, max_denoise=False):
        return sigma * noise + latent

    def inverse_noise_scaling(self, sigma, latent):
        return latent


def sampling(kind, sigma_min, sigma_max):
    made = type("ModelSampling", (kind,), {})()
    made.sigma_min, made.sigma_max = torch.tensor(sigma_min), torch.tensor(sigma_max)
    return made


class Model:
    """What a node is given as MODEL, and what a sampler finds behind its wrappers."""

    def __init__(self, model_sampling, shape=(2, 4, 4)):
        self.model_sampling = model_sampling
        self.exact = Gaussian(0.3, 0.7, shape=shape, schedule=seeds.EDM())

    def get_model_object(self, name):
        return getattr(self, name)

    def answer(self, x, sigma):
        at = Point(1.0, 1 - sigma, sigma) if isinstance(self.model_sampling, CONST) else Point(sigma, 1.0, sigma)
        return self.exact(x, at)


class Guider:
    """CFGGuider: called as (x, sigma, model_options, seed)."""

    def __init__(self, model):
        self.inner_model = model

    def __call__(self, x, sigma, model_options=None, seed=None):
        assert seed is not None
        return self.inner_model.answer(x, float(sigma[0]))


class KSamplerX0Inpaint:
    def __init__(self, model, sigmas):
        self.inner_model, self.sigmas = model, sigmas

    def __call__(self, x, sigma, denoise_mask, model_options=None, seed=None):
        if denoise_mask is not None:
            at = sigma.reshape(-1, 1, 1, 1)
            known = self.inner_model.inner_model.model_sampling.noise_scaling(at, self.noise, self.latent_image)
            x = x * denoise_mask + known * (1 - denoise_mask)
        out = self.inner_model(x, sigma, model_options=model_options, seed=seed)
        return out if denoise_mask is None else out * denoise_mask + self.latent_image * (1 - denoise_mask)


class KSAMPLER:
    def __init__(self, sampler_function, extra_options=None, inpaint_options=None):
        self.sampler_function, self.extra_options = sampler_function, extra_options or {}

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        extra_args = {**extra_args, "denoise_mask": denoise_mask}
        wrapped = KSamplerX0Inpaint(model_wrap, sigmas)
        wrapped.latent_image, wrapped.noise = latent_image, noise
        model_sampling = model_wrap.inner_model.model_sampling
        x = model_sampling.noise_scaling(sigmas[0], noise, latent_image, True)
        told = None if callback is None else lambda it: callback(it["i"], it["denoised"], it["x"], len(sigmas) - 1)
        made = self.sampler_function(
            wrapped, x, sigmas, extra_args=extra_args, callback=told, disable=disable_pbar, **self.extra_options
        )
        return model_sampling.inverse_noise_scaling(sigmas[-1], made)


@pytest.fixture
def nodes(monkeypatch):
    """The folder as ComfyUI loads it, in the presence of its `comfy`."""
    comfy = types.ModuleType("comfy")
    comfy.samplers = types.ModuleType("comfy.samplers")
    comfy.samplers.KSAMPLER = KSAMPLER
    monkeypatch.setitem(sys.modules, "comfy", comfy)
    monkeypatch.setitem(sys.modules, "comfy.samplers", comfy.samplers)
    spec = importlib.util.spec_from_file_location(
        "custom_nodes.seeds", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NODE_CLASS_MAPPINGS


KINDS = {"eps": (EPS, 0.03, 14.6), "zero SNR": (EPS, 0.03, 4519.0), "flow": (CONST, 0.001, 1.0)}


def run(nodes, kind, solver="seeds-3", steps=20, count=2000, grid="karras", seed=5, **more):
    model = Model(sampling(*KINDS[kind]), shape=(2, 2, 2))
    (sampler,) = nodes["SeedsSampler"]().make(solver, 1.0, 1.0)
    (sigmas,) = nodes["SeedsSigmas"]().make(model, grid, steps, 1.0)
    start, latent = noise.gaussian(range(count), -1, (2, 2, 2)), torch.zeros(count, 2, 2, 2)
    arguments = {
        "extra_args": {"seed": seed, "model_options": {}},
        "callback": None,
        "noise": start,
        "latent_image": latent,
        **more,
    }
    return sampler.sample(Guider(model), sigmas, disable_pbar=True, **arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_sampler_and_sigmas_draw_with_the_right_variance_on_every_kind_of_model(nodes, kind):
    drawn = run(nodes, kind)
    assert drawn.mean().item() == pytest.approx(0.3, abs=0.03) and drawn.std().item() == pytest.approx(0.7, rel=0.06)


def test_every_solver_and_grid_is_there_and_no_name_of_comfyui_is_touched(nodes):
    before = set(sys.modules["comfy.samplers"].__dict__)
    for solver in ("auto", *seeds.SOLVERS):
        assert torch.isfinite(run(nodes, "flow", solver, steps=4, count=2)).all()
    offered = nodes["SeedsSigmas"].INPUT_TYPES()["required"]["grid"][0]
    assert set(offered) <= {"auto", *seeds.GRIDS}
    for kind in KINDS:
        for grid in offered:
            (sigmas,) = nodes["SeedsSigmas"]().make(Model(sampling(*KINDS[kind])), grid, 6, 1.0)
            assert sigmas[-1] == 0 and (sigmas.diff() < 0).all(), (kind, grid)
    assert set(sys.modules["comfy.samplers"].__dict__) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_has_its_own_grid_and_noise_and_may_begin_at_the_mean(nodes, kind):
    """At the ends that the rule has, inside the model's; a flow begins at t = 1. Ten calls, at the mean: as from
    seeds.plan with these levels."""
    model = Model(sampling(*KINDS[kind]), shape=(2, 2, 2))
    (sigmas,) = nodes["SeedsSigmas"]().make(model, "auto", 10, 1.0)
    rule, nsr = auto.setting(10), sigmas[:-1] / (1 - sigmas[:-1]) if kind == "flow" else sigmas[:-1]
    assert (
        len(sigmas) == 11
        and sigmas[-1] == 0
        and nsr[0].item() == pytest.approx({"flow": math.inf, "eps": 14.6}.get(kind, rule.nsr_max))
    )
    assert nsr[-1].item() == pytest.approx(max(rule.nsr_min, 0.03 if kind != "flow" else 0.0), rel=1e-5)
    assert nodes["SeedsSigmas"]().make(model, "auto", 5, 0.5)[0].tolist() == sigmas[-6:].tolist()
    (sampler,) = nodes["SeedsSampler"]().make("auto", -1.0, 1.0, aim="accuracy", start_at="mean")
    start, latent = noise.gaussian(range(2000), -1, (2, 2, 2)), torch.zeros(2000, 2, 2, 2)
    arguments = {
        "extra_args": {"seed": 5, "model_options": {}},
        "callback": None,
        "noise": start,
        "latent_image": latent,
    }
    drawn = sampler.sample(Guider(model), sigmas, disable_pbar=True, **arguments)
    assert drawn.mean().item() == pytest.approx(0.3, abs=0.03) and drawn.std().item() == pytest.approx(0.7, rel=0.1)


def test_denoise_is_the_end_of_a_longer_run(nodes):
    model = Model(sampling(*KINDS["eps"]))
    (whole,) = nodes["SeedsSigmas"]().make(model, "uniform_lam", 20, 1.0)
    (half,) = nodes["SeedsSigmas"]().make(model, "uniform_lam", 10, 0.5)
    assert torch.equal(half, whole[-11:]) and len(nodes["SeedsSigmas"]().make(model, "karras", 5, 0.0)[0]) == 0


def test_previews_are_told_each_step_and_an_interruption_ends_the_run(nodes):
    seen = []
    run(
        nodes,
        "eps",
        steps=5,
        count=2,
        callback=lambda i, denoised, x, total: seen.append((i, total, denoised.shape == x.shape)),
    )
    assert seen == [(i, 5, True) for i in range(5)]

    def interrupt(i, *_):
        if i == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(nodes, "eps", steps=5, count=2, callback=interrupt)


def test_the_seed_is_the_noise_and_an_image_of_a_batch_has_its_own(nodes):
    first = run(nodes, "eps", steps=4, count=3)
    assert torch.equal(first, run(nodes, "eps", steps=4, count=3)) and not torch.equal(
        first, run(nodes, "eps", steps=4, count=3, seed=6)
    )


def test_split_sigmas_go_on_with_fresh_noise(nodes):
    """The variance of two chained samplers is that of one."""
    model = Model(sampling(*KINDS["eps"]), shape=(2, 2, 2))
    (sampler,) = nodes["SeedsSampler"]().make("seeds-2", 1.0, 1.0)
    (sigmas,) = nodes["SeedsSigmas"]().make(model, "karras", 20, 1.0)
    latent, arguments = torch.zeros(2000, 2, 2, 2), {"extra_args": {"seed": 0}, "callback": None, "disable_pbar": True}
    middle = sampler.sample(
        Guider(model), sigmas[:9], noise=noise.gaussian(range(2000), -1, (2, 2, 2)), latent_image=latent, **arguments
    )
    drawn = sampler.sample(Guider(model), sigmas[8:], noise=torch.zeros_like(middle), latent_image=middle, **arguments)
    assert drawn.std().item() == pytest.approx(0.7, rel=0.06)


def test_a_mask_keeps_what_is_known(nodes):
    mask = torch.zeros(3, 1, 2, 2)
    mask[..., 0] = 1
    known = noise.gaussian(range(3), 9, (2, 2, 2))
    drawn = run(nodes, "eps", steps=5, count=3, latent_image=known, denoise_mask=mask)
    torch.testing.assert_close(drawn[..., 1], known[..., 1])
    assert not torch.allclose(drawn[..., 0], known[..., 0])


def test_options_are_checked_before_anything_is_drawn(nodes):
    sampler = nodes["SeedsSampler"]()
    assert sampler.make("seeds-3", 1.0, 1.0, '{"variant": "3b", "r": [0.4, 0.7]}')[0].extra_options["r"] == (0.4, 0.7)
    with pytest.raises(ValueError, match="is no option of seeds-1"):
        sampler.make("seeds-1", 1.0, 1.0, '{"variant": "2b"}')
    with pytest.raises(ValueError, match="is no JSON"):
        sampler.make("seeds-2", 1.0, 1.0, "variant=2b")
    assert sampler.make("erk-2", 1.0, 1.0)[0].extra_options["eta"] is None, "methods of the ODE make no noise"


def test_the_example_workflow_names_nodes_and_inputs_that_are_there(nodes):
    workflow = json.loads((FOLDER / "example_workflow.json").read_text())
    ours = [node for node in workflow.values() if node["class_type"] in nodes]
    assert len(ours) == len(nodes) == 2
    for node in ours:
        kinds = nodes[node["class_type"]].INPUT_TYPES()
        assert set(kinds["required"]) <= set(node["inputs"]) <= set(kinds["required"]) | set(kinds["optional"])
    links = [value for node in workflow.values() for value in node["inputs"].values() if isinstance(value, list)]
    assert all(link[0] in workflow for link in links)


def test_the_folder_can_be_published():
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    assert "ComfyUI" not in project["project"]["name"] and len(project["project"]["name"]) < 100
    assert project["tool"]["comfy"]["DisplayName"] and "seeds-sampler" in project["project"]["dependencies"][0]
