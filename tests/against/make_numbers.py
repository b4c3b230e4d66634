"""Runs peers of the field on one small exact model and writes what they draw to numbers.json. Needs their packages, so
the tests read the file.

    python tests/against/make_numbers.py        # with diffusers, azula (pip install --no-deps azula einops) and
                                                k-diffusion

Of k-diffusion only the file sampling.py is loaded (pip install --no-deps k-diffusion torchsde torchdiffeq trampoline),
since the package imports what samplers do not need. Their code is run, not read.
"""

import importlib.metadata
import json
import sys
from pathlib import Path
from unittest import mock

import azula.denoise
import azula.noise
import azula.sample
import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSDEScheduler,
    DPMSolverSinglestepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    SASolverScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)

from seeds.runs.peers import sampling_of_k_diffusion

SIGMAS = [80.0, 30.0, 10.0, 4.0, 1.5, 0.6, 0.2, 0.05, 0.0]
NORMALS = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 1, 5)))
STD = 0.3
ASKED = []
"""The states x / alpha that the model was asked about, in order."""


def denoise(y, nsr):
    """E[data | y] for y = data + nsr eps and data +1 or -1 with equal odds, each with standard deviation 0.3."""
    ASKED.append(y.flatten().tolist())
    spread = STD**2 + nsr**2
    return (STD**2 * y + nsr**2 * torch.tanh(y / spread)) / spread


class Noise:
    """The normals in order, for whoever asks."""

    def __init__(self):
        self.next = 1

    def __call__(self, *_, **__):
        self.next += 1
        return NORMALS[self.next - 1].clone()


class OverSigma:
    """Increments of one Brownian motion over sigma, each divided by its standard deviation: of a step's stage, then of
    the whole step."""

    def __init__(self):
        self.noise, self.stage = Noise(), None

    def __call__(self, begin, end):
        if self.stage is None or self.stage[0] != begin:
            self.stage = begin, end, self.noise()
            return self.stage[2]
        share = ((begin - self.stage[1]) / (begin - end)).double()
        return share.sqrt() * self.stage[2] + (1 - share).sqrt() * self.noise()


def of_k_diffusion():
    peer, sigmas, x0 = sampling_of_k_diffusion(), torch.tensor(SIGMAS, dtype=torch.float64), 80 * NORMALS[0]
    levels = [(1.0, sigma) for sigma in SIGMAS]

    def model(x, sigma):
        return denoise(x, sigma[:, None])

    for name, solver, options in (
        ("sample_euler", {"solver": "rk-1"}, {}),
        ("sample_heun", {"solver": "rk-2"}, {}),
        ("sample_dpm_2", {"solver": "dpm-solver-2"}, {}),
        ("sample_lms", {"solver": "ipndm-v"}, {}),
        ("sample_dpmpp_2s_ancestral", {"solver": "dpmpp-2s"}, {"eta": 0.0}),
        ("sample_dpmpp_2s_ancestral", {"solver": "dpmpp-2s-ancestral"}, {"noise_sampler": Noise()}),
        ("sample_dpmpp_sde", {"solver": "dpmpp-sde", "eta": 0.0}, {"eta": 0.0, "noise_sampler": Noise()}),
        ("sample_dpmpp_2m", {"solver": "dpmpp-2m"}, {}),
        ("sample_dpmpp_2m_sde", {"solver": "dpmpp-2m-sde"}, {"noise_sampler": Noise()}),
        (
            "sample_dpmpp_2m_sde",
            {"solver": "dpmpp-2m-sde", "measure": "exact"},
            {"solver_type": "heun", "noise_sampler": Noise()},
        ),
        ("sample_dpmpp_2m_sde", {"solver": "dpmpp-2m-sde", "eta": 0.4}, {"eta": 0.4, "noise_sampler": Noise()}),
        ("sample_dpmpp_3m_sde", {"solver": "dpmpp-3m-sde"}, {"noise_sampler": Noise()}),
        ("sample_dpmpp_3m_sde", {"solver": "dpmpp-3m", "measure": "half"}, {"eta": 0.0, "noise_sampler": Noise()}),
        ("sample_euler_ancestral", {"solver": "seeds-1", "eta": 1.0}, {"noise_sampler": Noise()}),
        ("sample_dpm_2_ancestral", {"solver": "dpm-2-ancestral"}, {"noise_sampler": Noise()}),
        ("sample_dpm_2_ancestral", {"solver": "dpm-2-ancestral", "eta": 0.0}, {"eta": 0.0, "noise_sampler": Noise()}),
        ("sample_dpmpp_sde", {"solver": "dpmpp-sde", "brownian": "sigma"}, {"noise_sampler": OverSigma()}),
    ):
        count = len(SIGMAS) - (name == "sample_lms")  # its last step extrapolates to 0 where ours asks for D
        made = getattr(peer, name)(model, x0.clone(), sigmas[:count], disable=True, **options)
        kind = "".join(f", {key}={value}" for key, value in options.items() if key != "noise_sampler")
        yield f"k-diffusion {name}{kind}", levels[:count], x0, made, solver


def of_diffusers():
    for scheduler, solver, options in (
        (DDIMScheduler(clip_sample=False, timestep_spacing="trailing"), {"solver": "erk-1"}, {"eta": 0.0}),
        (
            DDIMScheduler(clip_sample=False, timestep_spacing="trailing"),
            {"solver": "seeds-1", "eta": 1.0},
            {"eta": 1.0},
        ),
        (
            DDIMScheduler(clip_sample=False, timestep_spacing="trailing"),
            {"solver": "ddim", "eta_ddim": 0.5},
            {"eta": 0.5},
        ),
        (DDPMScheduler(clip_sample=False, timestep_spacing="trailing"), {"solver": "seeds-1", "eta": 1.0}, {}),
        (EulerDiscreteScheduler(timestep_spacing="trailing"), {"solver": "rk-1"}, {}),
        (EulerAncestralDiscreteScheduler(timestep_spacing="trailing"), {"solver": "seeds-1", "eta": 1.0}, {}),
        (HeunDiscreteScheduler(timestep_spacing="trailing"), {"solver": "rk-2"}, {}),
    ):
        scheduler.set_timesteps(8)
        vp = isinstance(scheduler, (DDIMScheduler, DDPMScheduler))
        bars = scheduler.alphas_cumprod[scheduler.timesteps.long()].double() if vp else None
        points = (
            [(bar.sqrt().item(), (1 - bar).sqrt().item()) for bar in bars]
            if vp
            else [(1.0, s.item()) for s in scheduler.sigmas.double()]
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


def of_diffusers_singlestep():
    """Stages lie on the grid's own levels: in the middle of a step where they are equally spaced in lam."""
    scheduler = DPMSolverSinglestepScheduler(solver_order=2, use_exponential_sigmas=True, lower_order_final=True)
    scheduler.set_timesteps(7)
    yield from of_steps(scheduler, {"solver": "dpmpp-2s"}, "solver_order=2, use_exponential_sigmas=True", 2)


def of_lcm():
    scheduler, x = LCMScheduler(clip_sample=False), None
    scheduler.set_timesteps(5)
    bars = scheduler.alphas_cumprod[scheduler.timesteps].double()
    levels = [*zip(bars.sqrt().tolist(), (1 - bars).sqrt().tolist(), strict=True), (1.0, 0.0)]
    x = x0 = NORMALS[0] * levels[0][1]
    with mock.patch.multiple(sys.modules[LCMScheduler.__module__], randn_tensor=Noise(), create=True):
        for (alpha, sigma), t in zip(levels, scheduler.timesteps, strict=False):
            scaled = t.item() * scheduler.config.timestep_scaling
            # of the network, which is asked for D itself here
            skip, out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25) ** 0.5
            d = (denoise(x.double() / alpha, sigma / alpha) - skip * x.double()) / out
            x = scheduler.step((x.double() - alpha * d) / sigma, t, x).prev_sample
    yield "diffusers LCMScheduler", levels, x0, x.double(), {"solver": "lcm"}


def of_tcd():
    for gamma in (0.0, 0.3, 1.0):
        scheduler = TCDScheduler(clip_sample=False)
        scheduler.set_timesteps(6)
        at = [*scheduler.timesteps.tolist(), 0]
        # its table, in float64
        bars = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)[at]
        levels = list(zip(bars.sqrt().tolist(), (1 - bars).sqrt().tolist(), strict=True))
        x = x0 = NORMALS[0] * levels[0][1]
        with mock.patch.multiple(sys.modules[TCDScheduler.__module__], randn_tensor=Noise(), create=True):
            for (alpha, sigma), t in zip(levels, scheduler.timesteps, strict=False):
                x = x.double()
                x = scheduler.step((x - alpha * denoise(x / alpha, sigma / alpha)) / sigma, t, x, eta=gamma).prev_sample
        yield (
            f"diffusers TCDScheduler(eta={gamma:g})",
            levels,
            x0,
            x.double(),
            {"solver": "tcd", "gamma": gamma, "schedule": "scaled_linear"},
        )


def of_two_calls():
    """Schedulers that are asked twice a step, the second time in its middle; with noise, in the middle of the way
    down."""
    for kind, solver, middle in (
        (KDPM2DiscreteScheduler, {"solver": "dpm-solver-2"}, lambda it: it.sigmas_interpol[it.step_index]),
        (KDPM2AncestralDiscreteScheduler, {"solver": "dpm-2-ancestral"},
            lambda it: it.sigmas_interpol[it.step_index - 1]),
        (
            DPMSolverSDEScheduler,
            {"solver": "dpmpp-sde", "brownian": "sigma"},
            lambda it: it.sigmas[it.step_index - 1 : it.step_index + 1].prod().sqrt(),
        ),
        (FlowMatchHeunDiscreteScheduler, {"solver": "rk-2", "variable": "t", "schedule": "flow"},
            lambda it: it.sigmas[it.step_index]),
    ):  # fmt: skip
        flow = kind is FlowMatchHeunDiscreteScheduler
        scheduler = kind() if flow else kind(timestep_spacing="trailing")
        scheduler.set_timesteps(8)
        scheduler.set_begin_index(2 if flow else 0)  # behind SNR 0
        scheduler.noise_sampler = OverSigma()
        sigmas = scheduler.sigmas[2 if flow else 0 :].double()
        levels = [(1.0 - sigma if flow else 1.0, sigma) for sigma in dict.fromkeys(sigmas.tolist())]
        x = x0 = NORMALS[0] * levels[0][1]
        with mock.patch.multiple(sys.modules[kind.__module__], randn_tensor=Noise(), create=True):
            for t in scheduler.timesteps[scheduler.begin_index :]:
                first, x = scheduler.state_in_first_order, x.double()
                sigma = (
                    scheduler.sigmas[scheduler.step_index or scheduler.begin_index] if first else middle(scheduler)
                ).double()
                alpha = 1 - sigma if flow else 1.0
                d = denoise(x / alpha, sigma / alpha)
                x = scheduler.step((x - alpha * d) / sigma - (d if flow else 0.0), t, x).prev_sample
        yield f"diffusers {kind.__name__}", levels, x0, x.double(), solver


def of_edm():
    for kind, options, solver in (
        (EDMEulerScheduler, {}, {"solver": "rk-1"}),
        (EDMDPMSolverMultistepScheduler, {"lower_order_final": False}, {"solver": "dpmpp-2m"}),
        (
            EDMDPMSolverMultistepScheduler,
            {"lower_order_final": False, "algorithm_type": "sde-dpmsolver++"},
            {"solver": "dpmpp-2m-sde"},
        ),
        (EDMDPMSolverMultistepScheduler, {"solver_order": 3}, {"solver": "dpmpp-3m", "lower_order_final": True}),
    ):
        scheduler = kind(**options)
        scheduler.set_timesteps(8)
        levels = [(1.0, sigma) for sigma in scheduler.sigmas.double().tolist()]
        x = x0 = NORMALS[0] * levels[0][1]
        with mock.patch.multiple(sys.modules[kind.__module__], randn_tensor=Noise(), create=True):
            for (_, sigma), t in zip(levels, scheduler.timesteps, strict=False):
                x, spread = x.double(), sigma**2 + 0.25
                x = scheduler.step(
                    (denoise(x, sigma) - 0.25 / spread * x) * spread**0.5 / (sigma * 0.5), t, x
                ).prev_sample
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        yield f"diffusers {kind.__name__}({said})", levels, x0, x.double(), solver


def of_flow():
    for kind, options, solver in (
        (FlowMatchEulerDiscreteScheduler, {}, {"solver": "erk-1"}),
        (FlowMatchEulerDiscreteScheduler, {"stochastic_sampling": True}, {"solver": "lcm"}),
        (FlowMatchLCMScheduler, {}, {"solver": "lcm"}),
    ):
        scheduler = kind(**options)
        scheduler.set_timesteps(sigmas=[0.95, 0.8, 0.6, 0.4, 0.2, 0.05])
        levels = [(1 - sigma, sigma) for sigma in scheduler.sigmas.double().tolist()]
        x = x0 = NORMALS[0] * levels[0][1]
        draws = Noise()
        with (
            mock.patch.multiple(sys.modules[kind.__module__], randn_tensor=draws, create=True),
            mock.patch.object(torch, "randn_like", draws),
        ):
            for (alpha, sigma), t in zip(levels, scheduler.timesteps, strict=False):
                x = x.double()
                d = denoise(x / alpha, sigma / alpha)
                x = scheduler.step((x - alpha * d) / sigma - d, t, x).prev_sample
        yield f"diffusers {kind.__name__}({', '.join(options)})", levels, x0, x.double(), solver


def of_adams_bashforth():
    """They extrapolate in their last step, to sigma = 0, where ours asks for D, and one begins at SNR 0: compared in
    between."""
    scheduler = IPNDMScheduler()
    scheduler.set_timesteps(8)
    levels = list(zip(scheduler.alphas.double().tolist(), scheduler.betas.double().tolist(), strict=True))[1:-1]
    x = x0 = NORMALS[0] * levels[0][1]
    for (alpha, sigma), t in zip(levels[:-1], scheduler.timesteps[1:], strict=False):
        d = denoise(x / alpha, sigma / alpha)
        x = scheduler.step(alpha * (x - alpha * d) / sigma - sigma * d, t, x).prev_sample.double()
    yield "diffusers IPNDMScheduler", levels, x0, x, {"solver": "ipndm"}
    scheduler = LMSDiscreteScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(8)
    levels = [(1.0, sigma) for sigma in scheduler.sigmas.double().tolist()][:-1]
    x = x0 = NORMALS[0] * levels[0][1]
    for (_, sigma), t in zip(levels[:-1], scheduler.timesteps, strict=False):
        x = scheduler.step((x - denoise(x, sigma)) / sigma, t, x).prev_sample.double()
    yield "diffusers LMSDiscreteScheduler", levels, x0, x, {"solver": "ipndm-v"}


def tau(value):
    """SA-Solver's tau, as a function of the time step."""
    return lambda t: value


def of_diffusers_multistep():
    low, zero = {"lower_order_final": True}, {"lower_order_final": False}
    cleanest = {"final_sigmas_type": "sigma_min"}
    for kind, options, solver in (
        (DPMSolverMultistepScheduler, {"solver_order": 2} | zero, {"solver": "dpmpp-2m"}),
        (DPMSolverMultistepScheduler, {"solver_order": 2, "solver_type": "heun"} | zero, {"solver": "res-2m"}),
        (DPMSolverMultistepScheduler, {"solver_order": 3} | zero, {"solver": "dpmpp-3m"}),
        (DPMSolverMultistepScheduler, {"solver_order": 3} | low, {"solver": "dpmpp-3m"} | low),
        (DPMSolverMultistepScheduler, {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"} | zero,
            {"solver": "dpmpp-2m-sde"}),
        (DPMSolverMultistepScheduler, {"solver_order": 2, "algorithm_type": "sde-dpmsolver++",
         "solver_type": "heun"} | zero,
         {"solver": "dpmpp-2m-sde", "measure": "exact"}),
        *((UniPCMultistepScheduler, {"solver_order": k, "solver_type": bh} | cleanest,
          {"solver": "unipc", "k": k, "measure": bh} | low)
          for k in (2, 3) for bh in ("bh1", "bh2")),
        (UniPCMultistepScheduler, {"solver_order": 3} | low, {"solver": "unipc"} | low),
        (UniPCMultistepScheduler, {"solver_order": 3, "predict_x0": False} | cleanest,
            {"solver": "unipc", "prediction": "noise"} | low),
        (DEISMultistepScheduler, {"solver_order": 2} | zero, {"solver": "deis-tab1", "variable": "lam"}),
        (DEISMultistepScheduler, {"solver_order": 3} | zero, {"solver": "deis-tab2", "variable": "lam"}),
        *((SASolverScheduler, {"predictor_order": k, "corrector_order": m, "tau_func": tau(eta)},
           {"solver": "sa-solver", "k": k, "corrector": m, "eta": eta, "measure": "bh1"} | low)
          for k, m, eta in ((2, 2, 0.0), (2, 2, 1.0), (3, 3, 1.0))),
    ):  # fmt: skip
        scheduler = kind(timestep_spacing="trailing", **options)
        scheduler.set_timesteps(8)
        said = ", ".join(f"{key}={value}" for key, value in options.items() if key != "tau_func")
        yield from of_steps(scheduler, solver, said)


def of_steps(scheduler, solver, said, stages=1):
    """A scheduler of the DPM-Solver kind: its levels are its sigmas, on VP, of which a step takes so many."""
    levels = [(1 / (1 + nsr**2) ** 0.5, nsr / (1 + nsr**2) ** 0.5) for nsr in scheduler.sigmas.double().tolist()]
    x = x0 = NORMALS[0] * levels[0][1]
    kind = type(scheduler)
    with mock.patch.multiple(sys.modules[kind.__module__], randn_tensor=Noise(), create=True):
        for (alpha, sigma), t in zip(levels, scheduler.timesteps, strict=False):
            y = x.double() / alpha
            x = scheduler.step((y - denoise(y, sigma / alpha)) / (sigma / alpha), t, x).prev_sample
    yield f"diffusers {kind.__name__}({said}) as {solver}", [*levels[:-1:stages], levels[-1]], x0, x.double(), solver


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
        ("zABSampler", azula.noise.VESchedule(), {"solver": "ipndm-v", "k": 3}, {"order": 3}),
        ("zEABSampler", azula.noise.VPSchedule(), {"solver": "deis-tab2", "variable": "lam"}, {"order": 3}),
        ("xEABSampler", azula.noise.VPSchedule(), {"solver": "res-3m"}, {"order": 3}),
        ("HeunSampler", azula.noise.VESchedule(), {"solver": "rk-2"}, {}),
        (
            "vABSampler",
            azula.noise.VPSchedule(),
            {"solver": "adams", "k": 3, "prediction": "flow", "variable": "t", "schedule": "flow"},
            {"order": 3},
        ),
    ):
        sampler = getattr(azula.sample, name)(Exact(schedule), steps=10, silent=True, dtype=torch.float64, **options)
        times = torch.linspace(1, 0, 11, dtype=torch.float64)
        levels = [tuple(value.item() for value in schedule(t)) for t in times]
        x0 = NORMALS[0] * levels[0][1]
        with mock.patch.object(torch, "randn_like", Noise()):
            made = sampler(x0.clone())
        kind = name + (f"({', '.join(f'{key}={value:g}' for key, value in options.items())})" if options else "")
        yield f"azula {kind}, {type(schedule).__name__}", levels, x0, made, solver


def main():
    records = []
    of_each = (of_k_diffusion, of_diffusers, of_diffusers_multistep, of_diffusers_singlestep, of_lcm, of_tcd,
               of_two_calls, of_edm, of_flow,
               of_adams_bashforth, of_azula)  # fmt: skip
    for peer in of_each:
        for name, levels, x0, made, solver in peer():
            package = name.split()[0]
            records.append({"peer": name, "version": importlib.metadata.version(package), "ours": solver,
                            "levels": levels, "x0": x0.flatten().tolist(),
                            "asked": [[float(f"{value:.10g}") for value in state] for state in ASKED],
                            "result": made.flatten().tolist()})  # fmt: skip
            ASKED.clear()
    normals = NORMALS[1:].flatten(1).tolist()
    lines = ",\n".join(json.dumps(record) for record in records)
    head = json.dumps({"std": STD, "normals": normals})[:-1]
    Path(__file__).with_name("numbers.json").write_text(f'{head}, "records": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
