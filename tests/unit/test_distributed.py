"""Several processes: the same bytes as one, whatever dies on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from seeds.distributed import Group

HERE = Path(__file__).parent
RUN = ("sample", "--model", "toy:colour", "--seeds", "0-19", "--batch", "3", "--steps", "4", "--threads", "1")


def torchrun(*arguments, processes=2, restarts=0, **how):
    """A process group, started in this folder so that `toy` is found."""
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", f"--max-restarts={restarts}"]
    return subprocess.Popen(
        [*agent, *map(str, arguments)],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])},
        **how,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return out


def images(out):
    return {path.name: path.read_bytes() for path in out.glob("[0-9]*.png")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "out"
    subprocess.run([sys.executable, "-m", "seeds", *RUN, "--out", out], cwd=HERE, check=True, capture_output=True)
    return out


def test_alone_a_group_is_one_process():
    group = Group()
    assert group.first and group.share([1, 2, 3]) == [1, 2, 3] and group.once(lambda: "said") == "said" and group.most(4) == 4
    assert group.count("a", 2) == 2 and group.count("a", 3) == 5 and group.count("b") == 0
    rows = {2: np.zeros((1, 4)), 0: np.ones((2, 4))}
    assert list(group.gathered(rows)) == [0, 2] and group.total({"n": np.array(3)}) == {"n": 3}
    group.wait()


def test_shares_are_disjoint_and_together_all():
    shares = [Group(rank, 3).share(range(10)) for rank in range(3)]
    assert sorted(chain(*shares)) == list(range(10))
    assert all(Group(rank, 3).owns(piece) == (piece in share) for rank, share in enumerate(shares) for piece in range(10))


def test_what_processes_exchange():
    said = finish(torchrun("exchange.py", processes=3))
    assert sorted(json.loads(line) for line in said.splitlines()) == [
        [0, 6, "said by 0", 20, [[0, 0, 0], [1, 1, 1]], [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]], "0: by zero"],
        [1, 6, "said by 0", 20, [[0, 0, 0], [1, 1, 1]], [], "1: by zero"],
        [2, 6, "said by 0", 20, [[0, 0, 0], [1, 1, 1]], [], "2: by zero"],
    ]


def test_three_processes_make_the_bytes_of_one_and_speak_once(tmp_path, whole):
    said = finish(torchrun("-m", "seeds", *RUN, "--out", tmp_path / "out", processes=3))
    assert images(tmp_path / "out") == images(whole) and len(images(whole)) == 20
    records = [json.loads((out / "run.json").read_text()) for out in (tmp_path / "out", whole)]
    assert records[0]["files"] == records[1]["files"] and records[0]["job"] == records[1]["job"] and records[0]["drawn"] == 20
    assert said.count("20 images (20 drawn last)") == 1


def test_a_worker_killed_in_mid_run_is_started_again_and_the_bytes_are_those_of_an_unbroken_run(tmp_path, whole):
    out = tmp_path / "out"
    process = torchrun("-m", "seeds", *RUN, "--model", "toy:slow", "--out", out, restarts=3)
    deadline = time.monotonic() + 60
    while not images(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    before = len(images(out))
    os.kill(int(workers[-1]), signal.SIGKILL)
    finish(process)
    assert 0 < before < 20 and images(out) == images(whole)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_mistake_is_told_once(tmp_path):
    process = torchrun("-m", "seeds", "sample", "--model", "toy:colour", "--solver", "seeds-33", "--out", tmp_path / "out")
    err = process.communicate(timeout=120)[1]
    assert process.returncode and err.count("Error: There is no solver 'seeds-33'") == 1
