"""The only part of the package that makes random numbers: portable, stateless draws, made ahead of need in a thread, or
on the device."""

from seeds.noise.ahead import Ahead
from seeds.noise.device import maker
from seeds.noise.draws import (
    CHURN,
    INITIAL,
    LABELS,
    NOISES,
    PATH,
    NamedNoise,
    Seeds,
    between,
    gaussian,
    noise,
    part_list,
    part_of,
    rademacher,
    seed_list,
    seed_of,
    uniform_labels,
)
from seeds.noise.together import Place, Together

__all__ = [
    "CHURN",
    "INITIAL",
    "LABELS",
    "NOISES",
    "PATH",
    "Ahead",
    "NamedNoise",
    "Place",
    "Seeds",
    "Together",
    "between",
    "gaussian",
    "maker",
    "noise",
    "part_list",
    "part_of",
    "rademacher",
    "seed_list",
    "seed_of",
    "uniform_labels",
]
