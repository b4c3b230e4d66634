"""The scheduler's result beside that of seeds.sample with the same noise, on a small random UNet2DModel.

    python -m trials.hosts_equality [--solvers seeds-3 adams] [--calls 8]

All solvers, the default too, outputs and spacings on the table of Stable Diffusion; then every solver on a table, a
flow schedule and an EDM one, in both layouts, from its beginning, from a call in the middle (image-to-image), and at
sigmas of the caller's. Printed is the largest difference of float32 results, relative to the largest number in them.
Both make the same operations but for how an answer becomes a denoised value, so it is a few roundings.
"""

import argparse
from typing import Any

import torch
from diffusers import UNet2DModel

import seeds
from seeds import noise
from seeds.auto import AUTO
from seeds.integrations.configs import OUTPUTS, SPACINGS
from seeds.integrations.diffusers import SEEDSScheduler, denoiser

SHAPE, SEEDS = (2, 8, 8), [5, 6]
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
KINDS: dict[str, dict[str, Any]] = {
    "discrete": SD,
    "flow": {"shift": 3.0, "prediction_type": "flow_prediction"},
    "edm": {"kind": "edm", "sigma_min": 0.02},
}
SIGMAS = {"flow": [0.9, 0.7, 0.5, 0.3, 0.1]}
"""Of the caller's, with (12, 5, 2, 0.7, 0.2) for the others."""


def network() -> UNet2DModel:
    """Random weights, the same in every run."""
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "attention_head_dim": 4}
    made = UNet2DModel(sample_size=8, in_channels=2, out_channels=2, **sizes, **blocks).eval().requires_grad_(False)
    for k, weight in enumerate(made.parameters()):
        if weight.ndim > 1:
            weight.copy_(noise.gaussian(0, k, weight.shape)[0] / weight[0].numel() ** 0.5)
    return made


@torch.no_grad()
def difference(net: UNet2DModel, scheduler: SEEDSScheduler, begin: int = 0) -> float:
    """The largest difference between a pipeline's loop and seeds.sample, from the same state and of the same seeds,
    relative to the largest number."""
    first = scheduler.timesteps[begin : begin + 1]
    x = scheduler.add_noise(0.5 * noise.gaussian(SEEDS, 9, SHAPE), noise.gaussian(SEEDS, -1, SHAPE), first)
    scheduler.set_seeds(SEEDS)
    scheduler.set_begin_index(begin)
    plan, state = scheduler.plan, x
    for t in scheduler.timesteps[begin:]:
        answer = net(scheduler.scale_model_input(state, t), t).sample
        state = scheduler.step(answer, t, state, return_dict=False)[0]
    same = seeds.sample(denoiser(net, scheduler), SHAPE, seed=SEEDS, x=x, plan=plan)
    return float((state - same).abs().max() / same.abs().max())


def fits(solver: str) -> bool:
    """The solver may run in a host's loop."""
    try:
        SEEDSScheduler(**SD, solver=solver)
    except ValueError:
        return False
    return True


def spaced(net: UNet2DModel, solver: str, output: str, spacing: str, calls: int = 8) -> float:
    """The difference of one run on a table."""
    scheduler = SEEDSScheduler(**SD, solver=solver, prediction_type=output, timestep_spacing=spacing)
    scheduler.set_timesteps(calls)
    return difference(net, scheduler)


def parts(net: UNet2DModel, solver: str, kind: str, layout: int | str) -> float:
    """The largest difference of whole runs, of one from a call in the middle, and of one at given sigmas."""
    scheduler = SEEDSScheduler(**KINDS[kind], solver=solver, calls_per_step=layout)
    scheduler.set_timesteps(4 if layout == "stages" else 9)
    begins = sorted({0, scheduler.order, len(scheduler.timesteps) // 2} & set(range(len(scheduler.timesteps))))
    found = [difference(net, scheduler, begin) for begin in begins]
    scheduler.set_timesteps(sigmas=SIGMAS.get(kind, [12.0, 5.0, 2.0, 0.7, 0.2]))
    return max(*found, difference(net, scheduler))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    solvers = [AUTO, *seeds.SOLVERS]
    parser.add_argument("--solvers", nargs="+", default=solvers, choices=solvers, metavar="NAME")
    parser.add_argument("--calls", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    net, worst, count = network(), 0.0, 0
    for solver in asked.solvers:
        if not fits(solver):
            print(f"{solver:24} refused: it does not fit into the loop of a host")
            continue
        even = [spaced(net, solver, output, spacing, asked.calls) for output in OUTPUTS for spacing in SPACINGS]
        others = [parts(net, solver, kind, layout) for kind in KINDS for layout in (1, "stages")]
        worst, count = max(worst, *even, *others), count + len(even) + 4 * len(others)
        print(f"{solver:24}{max(even):10.1e} over {len(even)} runs, parts and layouts{max(others):10.1e}", flush=True)
    print(f"largest difference of {count} runs: {worst:.1e}")


if __name__ == "__main__":
    main()
