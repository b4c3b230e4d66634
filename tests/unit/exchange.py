"""What each process of a group sees; a line of JSON. Started by test_distributed."""

import json
import os
import sys

import numpy as np

from seeds.distributed import LeaderError, joined
from seeds.metrics.together import in_order

with joined() as group:
    group.count("six", group.rank + 1)
    group.wait()
    said = group.once(lambda: {"said by": group.rank})
    gathered = group.gathered({"by": group.rank})
    pieces = ((piece, np.full((1, 2), piece)) for piece in range(5) if group.owns(piece))
    order = [int(rows[0, 0]) for rows in in_order(pieces, 5, group)]
    try:
        group.once(lambda: str(1 / 0))
    except (ZeroDivisionError, LeaderError) as error:
        failed = f"{group.rank}: {str(error).removeprefix('division ')}"
    line = json.dumps([group.rank, group.count("six"), said, gathered, order, failed])
    # in one piece: print may write the line's end after another process' line
    os.write(sys.stdout.fileno(), f"{line}\n".encode())
