"""Our plans against what named peers draw with the same model, levels and noise, and against every state that they ask
the model about on the way: numbers.json, made by make_numbers.py, says whose and of which version."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import seeds
from seeds.stepper import run

NUMBERS = json.loads(Path(__file__).with_name("numbers.json").read_text())
TABLES = {"scaled_linear": seeds.Discrete.from_betas(np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)}
DRAWS = torch.tensor(NUMBERS["normals"], dtype=torch.float64)


def denoise(y, at):
    """E[data | y] for data +1 or -1, each with standard deviation `std`: the peers' model."""
    std, nsr = NUMBERS["std"], at.nsr
    spread = std**2 + nsr**2
    return (std**2 * y + nsr**2 * torch.tanh(y / spread)) / spread


@pytest.mark.parametrize("record", NUMBERS["records"], ids=lambda record: f"{record['peer']} {record['version']}")
def test_same_trajectory_with_the_same_noise(record):
    alpha, sigma = np.array(record["levels"]).T
    ours = {"schedule": "edm"} | record["ours"]
    ours["schedule"] = TABLES.get(ours["schedule"], ours["schedule"])
    plan = seeds.plan(sigmas=sigma / alpha, final="denoise" if sigma[-1] == 0 else "none", **ours).on(seeds.EDM())
    y0 = torch.tensor(record["x0"], dtype=torch.float64) / alpha[0]
    asked = []

    def noted(y, at):
        asked.append(y.clone())  # the loop writes over it
        return denoise(y, at)

    drawn = alpha[-1] * run(plan, noted, y0, DRAWS.__getitem__)
    theirs = torch.tensor(record["result"], dtype=torch.float64)
    assert (drawn - theirs).abs().max() < 1e-5, f"{record['peer']}: {(drawn - theirs).abs().max():.2g} apart"
    for number, (mine, state) in enumerate(zip(asked, record["asked"], strict=True)):
        other = torch.tensor(state, dtype=torch.float64)
        apart = (mine - other).abs().max() / other.abs().max().clamp_min(1.0)
        # 1.05e-5 is UniPC's in noise prediction, whose tables are float32; all others are below 1e-5
        assert apart < 1.2e-5, f"{record['peer']}: {apart:.2g} apart at call {number} of {len(asked)}"
    assert len(plan.draws) <= len(DRAWS) and drawn.std() > 0.1


def test_there_are_numbers_of_each_peer():
    peers = [record["peer"] for record in NUMBERS["records"]]
    assert {peer.split()[0] for peer in peers} == {"k-diffusion", "diffusers", "azula"} and len(peers) == len(
        set(peers)
    ) > 60
