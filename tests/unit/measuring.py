"""Commands of the command line, one after another, by each process of a group. Started by test_metrics_together."""

import json
import sys

from seeds.cli import commands
from seeds.cli.session import Session
from seeds.distributed import joined

with joined() as group:
    for words in json.loads(sys.argv[1]):
        commands.main(list(words), prog_name="seeds", standalone_mode=False, obj=Session(words, group))
