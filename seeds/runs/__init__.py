"""Jobs on disk: fixed units of work, files that are whole or absent, records that repeat them, and resume; studies made of many jobs."""

from seeds.runs.folder import run
from seeds.runs.job import DTYPES, Job
from seeds.runs.progress import Progress
from seeds.runs.seed_text import parse_seeds, show_seeds

__all__ = ["DTYPES", "Job", "Progress", "parse_seeds", "run", "show_seeds"]
