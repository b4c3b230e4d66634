"""The public names of the package; `seeds` has them all, and this is what it loads when one of them is first asked
for."""

from seeds.checking import check_model
from seeds.denoisers import Denoiser, guide, threshold, wrap
from seeds.errors import InputError, SeedsError
from seeds.grids import GRIDS
from seeds.integrals import Eta
from seeds.planning import plan, plan_for
from seeds.plans import Plan, Point, Row
from seeds.predictions import PREDICTIONS
from seeds.sampling import Call, iterate, sample
from seeds.schedules import EDM, SCHEDULES, VE, VP, Cosine, Discrete, Flow, Schedule
from seeds.solvers import SOLVERS, Solver
from seeds.solvers.rivals.fronts import from_name
from seeds.stepper import Stepper

__all__ = [
    "EDM",
    "GRIDS",
    "PREDICTIONS",
    "SCHEDULES",
    "SOLVERS",
    "VE",
    "VP",
    "Call",
    "Cosine",
    "Denoiser",
    "Discrete",
    "Eta",
    "Flow",
    "InputError",
    "Plan",
    "Point",
    "Row",
    "Schedule",
    "SeedsError",
    "Solver",
    "Stepper",
    "check_model",
    "from_name",
    "guide",
    "iterate",
    "plan",
    "plan_for",
    "sample",
    "threshold",
    "wrap",
]
