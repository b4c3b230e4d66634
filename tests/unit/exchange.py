"""What each process of a group sees; a line of JSON. Started by test_distributed."""

import json
import os
import sys

import numpy as np

from seeds.distributed import LeaderError, joined

with joined() as group:
    group.count("six", group.rank + 1)
    group.wait()
    said = group.once(lambda: {"said by": group.rank})
    most = group.most(10 * group.rank)
    total = group.total({"a": np.arange(2)[:, None] * np.array([[1, 1, 1]]) * (group.rank == 1)})["a"].tolist()
    rows = group.gathered({piece: np.full((piece + 1, 2), piece, np.float32) for piece in range(5) if group.owns(piece)})
    assert all((array == number).all() for number, array in rows.items())
    try:
        group.once(lambda: str(1 / 0))
    except (ZeroDivisionError, LeaderError) as error:
        failed = f"{group.rank}: {str(error).removeprefix('division ')}"
    line = json.dumps([group.rank, group.count("six"), said, most, total, [[k, len(v)] for k, v in rows.items()], failed])
    os.write(sys.stdout.fileno(), f"{line}\n".encode())  # in one piece: print may write the line's end after another process' line
