"""The recipe of the bundled mixture, on laws small enough to fit in a moment."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from recipes.fit_fashion_mixture import em, file_of, kmeans, maximise, merge
from seeds.checkpoints import bundled
from seeds.exact import GaussianMixture

D, RANK = 6, 2


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    mean, factors = 3 * rng.standard_normal((2, D)), rng.standard_normal((2, RANK, D))
    return GaussianMixture(mean, [0.1, 0.3], factors=factors, weights=[1.0, 2.0])


@pytest.fixture(scope="module")
def data(truth):
    return truth.sample(range(3000), dtype=torch.float64)


def test_em_finds_a_law_as_likely_as_the_one_that_drew_the_data(truth, data):
    fit, found = em(data, kmeans(data, 2, np.random.default_rng(1), least=20), RANK, floor=1e-4, anneal=3, rounds=100)
    assert found == pytest.approx(fit.law().log_density(data).mean().item())
    assert truth.log_density(data).mean().item() < found < truth.log_density(data).mean().item() + 0.02
    order = fit.weights.argsort()
    assert fit.weights[order] == pytest.approx(truth.weights, abs=0.02)
    assert fit.psi[order].sqrt() == pytest.approx(torch.tensor([0.1, 0.3], dtype=torch.float64), rel=0.05)


def test_one_component_is_the_closed_form(data):
    """The factors and the residual keep the total variance, and the residual is the mean of the variances left out."""
    fit = maximise(data, torch.ones(len(data), 1, dtype=torch.float64), RANK, floor=0.0)
    values = torch.linalg.eigvalsh(torch.cov(data.T, correction=0))
    assert fit.variance[0] == pytest.approx(values[-RANK:].flip(0))
    assert fit.psi[0] == pytest.approx(values[:-RANK].mean())


def test_a_chosen_residual_keeps_the_variance_along_the_factors(data):
    fit = maximise(data, torch.ones(len(data), 1, dtype=torch.float64), RANK, floor=0.0)
    law = fit.law(std=0.05)
    assert law._law.s[0] + law._law.psi[0] == pytest.approx(fit.variance[0])


def test_classes_weigh_what_they_hold(data):
    fit = maximise(data, torch.ones(len(data), 1, dtype=torch.float64), RANK, floor=0.0)
    both, owner = merge([fit, fit], torch.tensor([10, 30]))
    assert both.weights.tolist() == [0.25, 0.75] and owner.tolist() == [0, 1]


def test_the_tensors_of_the_bundled_file_are_written_as_that_file():
    path = bundled()["fashion-mixture"]
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert file_of(load_file(path), metadata) == path.read_bytes()
