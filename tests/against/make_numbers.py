"""Runs peers of the field on one small exact model and writes what they draw to numbers.json. Needs their packages, so the tests read the file.

    python tests/against/make_numbers.py        # with diffusers, azula (pip install --no-deps azula einops) and k-diffusion

Of k-diffusion only the file sampling.py is loaded (pip install --no-deps k-diffusion torchsde torchdiffeq trampoline), since the package imports what
samplers do not need. Their code is run, not read.
"""

import importlib.metadata
import importlib.util
import json
import sys
import types
from pathlib import Path
from unittest import mock

import azula.denoise
import azula.noise
import azula.sample
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler

SIGMAS = [80.0, 30.0, 10.0, 4.0, 1.5, 0.6, 0.2, 0.05, 0.0]
NORMALS = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 1, 5)))
STD = 0.3


def denoise(y, nsr):
    """E[data | y] for y = data + nsr eps and data +1 or -1 with equal odds, each with standard deviation 0.3."""
    spread = STD**2 + nsr**2
    return (STD**2 * y + nsr**2 * torch.tanh(y / spread)) / spread


class Noise:
    """The normals in order, for whoever asks."""

    def __init__(self):
        self.next = 1

    def __call__(self, *_, **__):
        self.next += 1
        return NORMALS[self.next - 1].clone()


def k_diffusion():
    """sampling.py of k-diffusion, without the package around it."""
    place = Path(importlib.util.find_spec("k_diffusion").origin).parent
    package, utils = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
    package.__path__, package.utils = [str(place)], utils
    utils.append_dims = lambda x, count: x[(..., *[None] * (count - x.ndim))]
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    return importlib.import_module("k_diffusion.sampling")


def of_k_diffusion():
    peer, sigmas, x0 = k_diffusion(), torch.tensor(SIGMAS, dtype=torch.float64), 80 * NORMALS[0]
    levels = [(1.0, sigma) for sigma in SIGMAS]

    def model(x, sigma):
        return denoise(x, sigma[:, None])

    for name, solver, options in (
        ("sample_euler", {"solver": "rk-1"}, {}),
        ("sample_heun", {"solver": "rk-2"}, {}),
        ("sample_dpmpp_2s_ancestral", {"solver": "erk-2"}, {"eta": 0.0}),
        ("sample_euler_ancestral", {"solver": "seeds-1", "eta": 1.0}, {"noise_sampler": Noise()}),
    ):
        made = getattr(peer, name)(model, x0.clone(), sigmas, disable=True, **options)
        yield f"k-diffusion {name}", levels, x0, made, solver


def of_diffusers():
    for scheduler, solver, options in (
        (DDIMScheduler(clip_sample=False, timestep_spacing="trailing"), {"solver": "erk-1"}, {"eta": 0.0}),
        (DDIMScheduler(clip_sample=False, timestep_spacing="trailing"), {"solver": "seeds-1", "eta": 1.0}, {"eta": 1.0}),
        (DDPMScheduler(clip_sample=False, timestep_spacing="trailing"), {"solver": "seeds-1", "eta": 1.0}, {}),
        (EulerDiscreteScheduler(timestep_spacing="trailing"), {"solver": "rk-1"}, {}),
        (EulerAncestralDiscreteScheduler(timestep_spacing="trailing"), {"solver": "seeds-1", "eta": 1.0}, {}),
        (HeunDiscreteScheduler(timestep_spacing="trailing"), {"solver": "rk-2"}, {}),
    ):
        scheduler.set_timesteps(8)
        vp = isinstance(scheduler, (DDIMScheduler, DDPMScheduler))
        bars = scheduler.alphas_cumprod[scheduler.timesteps.long()].double() if vp else None
        points = (
            [(bar.sqrt().item(), (1 - bar).sqrt().item()) for bar in bars] if vp else [(1.0, s.item()) for s in scheduler.sigmas.double()]
        )
        levels = [*points, (1.0, 0.0)] if vp else sorted(set(points), key=lambda point: -point[1])
        x = x0 = NORMALS[0] * levels[0][1]
        draws = Noise()
        modules = [sys.modules[type(scheduler).__module__]]
        with mock.patch.multiple(modules[0], randn_tensor=draws, create=True):
            for i, t in enumerate(scheduler.timesteps):
                alpha, sigma = points[i]
                asked = scheduler.scale_model_input(x, t) if not vp else x
                y = x / alpha
                eps = (y - denoise(y, sigma / alpha)) / (sigma / alpha)
                assert asked.shape == x.shape
                x = scheduler.step(eps, t, x, **options).prev_sample
        kind = f"{type(scheduler).__name__}" + (f"(eta={options['eta']:g})" if options else "")
        yield f"diffusers {kind}", levels, x0, x, solver


class Exact(azula.denoise.Denoiser):
    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t, **_):
        alpha, sigma = self.schedule(t)
        return azula.denoise.DiracPosterior(mean=denoise(x_t / alpha, sigma / alpha))


def of_azula():
    for name, schedule, solver, options in (
        ("DDIMSampler", azula.noise.VPSchedule(), {"solver": "erk-1"}, {}),
        ("DDIMSampler", azula.noise.VPSchedule(), {"solver": "seeds-1", "eta": 1.0}, {"eta": 1.0}),
        ("DDPMSampler", azula.noise.CosineSchedule(), {"solver": "seeds-1", "eta": 1.0}, {}),
        ("HeunSampler", azula.noise.VESchedule(), {"solver": "rk-2"}, {}),
    ):
        sampler = getattr(azula.sample, name)(Exact(schedule), steps=10, silent=True, dtype=torch.float64, **options)
        times = torch.linspace(1, 0, 11, dtype=torch.float64)
        levels = [tuple(value.item() for value in schedule(t)) for t in times]
        x0 = NORMALS[0] * levels[0][1]
        with mock.patch.object(torch, "randn_like", Noise()):
            made = sampler(x0.clone())
        kind = name + (f"(eta={options['eta']:g})" if options else "")
        yield f"azula {kind}, {type(schedule).__name__}", levels, x0, made, solver


def main():
    records = []
    for peer in (of_k_diffusion, of_diffusers, of_azula):
        for name, levels, x0, made, solver in peer():
            package = name.split()[0]
            records.append({"peer": name, "version": importlib.metadata.version(package), "levels": levels, "x0": x0.flatten().tolist(),
                            "result": made.flatten().tolist(), "ours": solver})  # fmt: skip
    normals = NORMALS[1:].flatten(1).tolist()
    Path(__file__).with_name("numbers.json").write_text(json.dumps({"std": STD, "normals": normals, "records": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
