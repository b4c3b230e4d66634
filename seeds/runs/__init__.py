"""Jobs on disk: fixed units of work, files that are whole or absent, records that repeat them, and resume; studies made
of many jobs."""

from seeds.runs.decoding import Pixels
from seeds.runs.folder import run
from seeds.runs.identity import Identity, check_agreed
from seeds.runs.job import DTYPES, Job
from seeds.runs.progress import Progress
from seeds.runs.seed_text import parse_seeds, show_seeds
from seeds.runs.tally import Tally

__all__ = [
    "DTYPES",
    "Identity",
    "Job",
    "Pixels",
    "Progress",
    "Tally",
    "check_agreed",
    "parse_seeds",
    "run",
    "show_seeds",
]
