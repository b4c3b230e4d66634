"""The only part of the package that makes random numbers: portable, stateless draws, and a thread that makes them ahead of need."""

from seeds.noise.ahead import Ahead
from seeds.noise.draws import CHURN, INITIAL, LABELS, NOISES, PATH, gaussian, noise, rademacher, seed_list, uniform_labels

__all__ = ["CHURN", "INITIAL", "LABELS", "NOISES", "PATH", "Ahead", "gaussian", "noise", "rademacher", "seed_list", "uniform_labels"]
