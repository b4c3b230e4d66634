"""Networks of 16 bits beside a float32 state, and what a run from SNR 0 leaves of the data's variance, in diffusers'
loop.

    python -m benchmarks.hosts_precision [--weights out/fashion-host]

First: what a network of bfloat16 or float16 makes of the result, beside the same network in float32, after 30 calls,
with --weights that of benchmarks/hosts_quality.py, else a random one. Second: the variance of the result over that of
the data,
N(0, 0.7^2), after 50 calls with their exact denoiser, on straight paths from t = 1 and on a zero-terminal-SNR table.
Without Monte Carlo: all is linear, so the start and each draw go alone, and the squares are summed.
"""

import argparse
import contextlib
import copy
import inspect
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import torch

from seeds import noise
from seeds.integrations.diffusers import SEEDSScheduler
from seeds.laws.responses import Gaussians
from trials.hosts_equality import SD, network

CALLS, STD = 50, 0.7
FLOW = {"shift": 1.0, "prediction_type": "flow_prediction"}
ZERO_SNR = {**SD, "clip_sample": False, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
SOLVERS: tuple[dict[str, str], ...] = (
    {"solver": "auto", "timestep_spacing": "auto"},
    {"solver": "auto", "timestep_spacing": "auto", "aim": "accuracy"},
    {"solver": "auto", "timestep_spacing": "linspace"},
    {"solver": "seeds-3", "timestep_spacing": "auto"},
    {"solver": "seeds-3", "timestep_spacing": "linspace"},
    {"solver": "seeds-2", "timestep_spacing": "auto"},
    {"solver": "seeds-1", "timestep_spacing": "auto"},
)
FLOWS = (diffusers.FlowMatchEulerDiscreteScheduler,)
TABLES = (
    diffusers.EulerAncestralDiscreteScheduler,
    diffusers.EulerDiscreteScheduler,
    diffusers.DDIMScheduler,
    diffusers.DPMSolverMultistepScheduler,
)


@torch.no_grad()
def loop(
    scheduler: Any, x: torch.Tensor, network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The loop of every pipeline."""
    for t in scheduler.timesteps:
        answer = network(scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x, t)
        x = scheduler.step(answer, t, x, return_dict=False)[0]
    return x


def narrowed(net: diffusers.UNet2DModel, config: Any, choice: dict[str, str], dtype: torch.dtype) -> float:
    """Root mean square of the difference to float32 that a network of `dtype` makes, over that of the result."""
    results = []
    for kind in (torch.float32, dtype):
        scheduler = SEEDSScheduler.from_config(config, **choice)
        scheduler.set_timesteps(30)
        scheduler.set_seeds(range(8))
        shape = (net.config.in_channels, net.config.sample_size, net.config.sample_size)
        x = noise.gaussian(range(8), -1, shape) * scheduler.init_noise_sigma
        asked = copy.deepcopy(net).to(kind)
        results.append(loop(scheduler, x, lambda x, t, kind=kind, asked=asked: asked(x.to(kind), t).sample.float()))
    assert torch.isfinite(results[1]).all()
    return float((results[1] - results[0]).square().mean().sqrt() / results[0].square().mean().sqrt())


def ours(config: dict[str, Any]) -> float:
    """The variance of our result over that of the data: of the plan that the scheduler runs."""
    scheduler = SEEDSScheduler(**config)
    scheduler.set_timesteps(CALLS)
    return float(Gaussians(np.array([STD])).share(scheduler.plan)[0])


def exact(alpha: float, sigma: float, output: str) -> float:
    """The factor that the exact network of this data applies to x."""
    of_data, of_noise = (n / (alpha**2 * STD**2 + sigma**2) for n in (alpha * STD**2, sigma))
    return of_noise - of_data if output == "flow_prediction" else alpha * of_noise - sigma * of_data


def theirs(scheduler: Any, output: str) -> float:
    """The same of a scheduler of diffusers, in its loop: a unit start in row 0 of the batch, the unit draw j in row 1 +
    j."""
    scheduler.set_timesteps(CALLS)
    unit, drawn = torch.eye(2 * CALLS + 1).reshape(-1, 2 * CALLS + 1, 1, 1, 1), itertools.count(1)

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if output == "flow_prediction":
            return x * exact(1 - float(t) / 1000, float(t) / 1000, output)
        kept = float(scheduler.alphas_cumprod[int(t)])
        return x * exact(kept**0.5, (1 - kept) ** 0.5, output)

    start = unit[0] * (1.0 if output == "flow_prediction" else float(scheduler.init_noise_sigma))
    draws = mock.patch(f"{type(scheduler).__module__}.randn_tensor", lambda *args, **kwargs: unit[next(drawn)])
    with draws if hasattr(sys.modules[type(scheduler).__module__], "randn_tensor") else contextlib.nullcontext():
        return float(loop(scheduler, start, network).square().sum()) / STD**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, help="of benchmarks.hosts_quality; else a random network")
    weights = parser.parse_args().weights
    torch.set_num_threads(1)
    net = diffusers.UNet2DModel.from_pretrained(weights).eval() if weights else network()
    table = (
        diffusers.DDPMScheduler.from_pretrained(weights)
        if weights
        else diffusers.DDPMScheduler(**SD, prediction_type="sample")
    )
    print("a network of 16 bits: root mean square difference to float32, over that of the result")
    for choice in SOLVERS:
        found = [narrowed(net, table.config, choice, dtype) for dtype in (torch.bfloat16, torch.float16)]
        print(f"  {', '.join(choice.values()):28}bfloat16 {found[0]:.1e}    float16 {found[1]:.1e}")
    for title, config, others in (("straight paths from t = 1", FLOW, FLOWS), ("zero-terminal SNR", ZERO_SNR, TABLES)):
        print(f"{title}: variance of the result over that of the data, {CALLS} calls")
        for choice in SOLVERS:
            print(f"  ours: {', '.join(choice.values()):28}{ours(config | choice):8.4f}")
        for made_by in others:
            config = {
                name: value for name, value in config.items() if name in inspect.signature(made_by.__init__).parameters
            }
            output = "flow_prediction" if others is FLOWS else "v_prediction"
            print(f"  {made_by.__name__:34}{theirs(made_by(**config), output):8.4f}")


if __name__ == "__main__":
    main()
