"""The laws that a solver obeys, chosen by what it can do: its noise, its memory, whether it interpolates, whether it is
a tableau. No Monte Carlo.

    for law, faults in seeds.laws.check("seeds-3"):      # or a Solver of one's own
        print(law.name, faults or "holds")

A name says nothing: a solver of 15 lines, written with the Writer, is asked everything that makes sense for it. Errors
as numbers are in `exactness` and `orders`; here they are held against their limits.
"""

from seeds.laws.exactness import constant_error, noise_error, path_error, polynomial_error, still_error
from seeds.laws.law import LAWS, Law, Subject, check, subjects
from seeds.laws.orders import (
    gaussian_errors,
    largest_step,
    mixture_errors,
    ode_errors,
    quiet_errors,
    skew_errors,
    slope,
)
from seeds.laws.responses import responses, states

__all__ = [
    "LAWS",
    "Law",
    "Subject",
    "check",
    "constant_error",
    "gaussian_errors",
    "largest_step",
    "mixture_errors",
    "noise_error",
    "ode_errors",
    "path_error",
    "polynomial_error",
    "quiet_errors",
    "responses",
    "skew_errors",
    "slope",
    "states",
    "still_error",
    "subjects",
]
