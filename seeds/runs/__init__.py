"""A sampling job on disk: fixed units of work, files that are whole or absent, a record that repeats it, and resume."""

from seeds.runs.files import atomic
from seeds.runs.folder import run
from seeds.runs.job import DTYPES, Job
from seeds.runs.seed_text import parse_seeds, show_seeds

__all__ = ["DTYPES", "Job", "atomic", "parse_seeds", "run", "show_seeds"]
