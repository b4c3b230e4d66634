"""Several processes: the same bytes as one, whatever dies on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore

from recipes import emoji, train_emoji_unet
from recipes.training import Settings, Trainer, batch_at, loss_of
from seeds.distributed import Group
from trials.processes import LOOPBACK, gone, left_over, networks, nodes, processes
from trials.processes import finish as finished

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
RUN = ("sample", "--model", "toy:colour", "--seeds", "0-19", "--batch", "3", "--nfe", "5", "--threads", "1")


def torchrun(*arguments, processes=2, restarts=0, **how):
    """A process group, started in this folder so that `toy` is found."""
    agent = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={processes}",
        f"--max-restarts={restarts}",
    ]
    return subprocess.Popen(
        [*agent, *map(str, arguments)],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PATHS},
        **how,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return out


def images(out):
    return {path.name: path.read_bytes() for path in out.glob("[0-9]*.png")}


def drawing(out, process):
    """Returns when images have come."""
    deadline = time.monotonic() + 60
    while not images(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 0 < len(images(out)) < 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "out"
    subprocess.run([sys.executable, "-m", "seeds", *RUN, "--out", out], cwd=HERE, check=True, capture_output=True)
    return out


def test_alone_a_group_is_one_process():
    group = Group()
    assert group.first and group.share([1, 2, 3]) == [1, 2, 3] and group.once(lambda: {"said": 1}) == {"said": 1}
    assert group.count("a", 2) == 2 and group.count("a", 3) == 5 and group.count("b") == 0
    assert group.gathered({"n": 3}) == [{"n": 3}]
    group.wait()


def test_shares_are_disjoint_and_together_all():
    shares = [Group(rank, 3).share(range(10)) for rank in range(3)]
    assert sorted(chain(*shares)) == list(range(10))
    assert all(
        Group(rank, 3).owns(piece) == (piece in share) for rank, share in enumerate(shares) for piece in range(10)
    )


def test_what_processes_exchange():
    said = finish(torchrun("exchange.py", processes=3))
    assert sorted(json.loads(line) for line in said.splitlines()) == [
        [0, 6, {"said by": 0}, [{"by": 0}, {"by": 1}, {"by": 2}], [0, 1, 2, 3, 4], "0: by zero"],
        [1, 6, {"said by": 0}, [], [], "1: by zero"],
        [2, 6, {"said by": 0}, [], [], "2: by zero"],
    ]


def test_nothing_that_an_earlier_attempt_left_in_the_agent_s_store_is_read():
    store, told = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False), []
    place = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": "2",
    }
    for _ in range(2):
        group = [
            subprocess.Popen(
                [sys.executable, "exchange.py"],
                cwd=HERE,
                env=os.environ | place | {"PYTHONPATH": PATHS, "RANK": str(rank)},
                stdout=subprocess.PIPE,
            )
            for rank in (0, 1)
        ]
        told.append([json.loads(process.communicate(timeout=120)[0]) for process in group])
    assert told[0] == told[1] and [row[1] for row in told[0]] == [3, 3] and store.add("attempts", 0) == 2


def test_three_processes_make_the_bytes_of_one_and_speak_once(tmp_path, whole):
    said = finish(torchrun("-m", "seeds", *RUN, "--out", tmp_path / "out", processes=3))
    assert images(tmp_path / "out") == images(whole) and len(images(whole)) == 20
    records = [json.loads((out / "run.json").read_text()) for out in (tmp_path / "out", whole)]
    assert (
        records[0]["files"] == records[1]["files"]
        and records[0]["job"] == records[1]["job"]
        and records[0]["drawn"] == 20
    )
    assert said.count("20 images (20 drawn last)") == 1


def test_a_worker_killed_in_mid_run_is_started_again_and_the_bytes_are_those_of_an_unbroken_run(tmp_path, whole):
    out = tmp_path / "out"
    process = torchrun("-m", "seeds", *RUN, "--model", "toy:slow", "--out", out, restarts=3)
    drawing(out, process)
    workers = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    finish(process)
    assert images(out) == images(whole) and not left_over(tmp_path)


def test_processes_started_anew_do_not_go_on_with_a_run_that_was_refused(tmp_path, whole):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "000003.png").unlink()
    process = torchrun("-m", "seeds", *RUN, "--out", out, restarts=1)
    err = process.communicate(timeout=120)[1]
    assert process.returncode and err.count("holds a run (done)") == 2 and len(images(out)) == 19


@pytest.mark.parametrize("rank", "01")
def test_processes_started_anew_before_they_met_do_not_go_on_with_a_run_either(tmp_path, whole, rank):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "000003.png").unlink()
    dies = tmp_path / "dies.py"
    dies.write_text(
        f"import os, runpy\nif (os.environ['RANK'], os.environ['TORCHELASTIC_RESTART_COUNT']) == ({rank!r}, '0'):\n    "
        "os.kill(os.getpid(), 9)\n"
        "runpy.run_module('seeds', run_name='__main__', alter_sys=True)\n"
    )
    process = torchrun(dies, *RUN, "--out", out, restarts=1)
    err = process.communicate(timeout=120)[1]
    assert process.returncode and err.count("holds a run (done)") == 1 and len(images(out)) == 19


def test_an_agent_killed_in_mid_run_takes_its_workers_along_and_the_run_is_completed(tmp_path, whole):
    out = tmp_path / "out"
    words = ("-m", "seeds", *RUN, "--model", "toy:slow", "--out", out)
    process = torchrun(*words)
    drawing(out, process)
    assert len(processes(out)) == 3
    process.kill()
    process.communicate(timeout=60)
    assert gone(out) < 4, "workers outlive their agent"
    finish(torchrun(*words, "--resume"))
    assert images(out) == images(whole) and not left_over(tmp_path)


def test_an_archive_is_made_by_several_processes(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "seeds", *RUN, "--out", tmp_path / "one.npz"], cwd=HERE, check=True, capture_output=True
    )
    finish(torchrun("-m", "seeds", *RUN, "--out", tmp_path / "two.npz"))
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert one["seeds"].tolist() == two["seeds"].tolist() == list(range(20))
        np.testing.assert_array_equal(one["arr_0"], two["arr_0"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]


def on_two_nodes(out, each):
    finished(*nodes(" ".join(RUN), out, each, PYTHONPATH=PATHS))
    assert json.loads((out / "run.json").read_text())["drawn"] == 20
    return images(out)


def test_two_nodes_make_the_bytes_of_one_process(tmp_path, whole):
    assert on_two_nodes(tmp_path / "out", LOOPBACK) == images(whole)


@pytest.mark.netns
def test_two_nodes_on_two_networks_make_the_bytes_of_one_process(tmp_path, whole):
    with networks() as each:
        assert on_two_nodes(tmp_path / "out", each) == images(whole)


def test_ctrl_c_ends_all_processes_and_leaves_whole_files(tmp_path, whole):
    out = tmp_path / "out"
    process = torchrun("-m", "seeds", *RUN, "--model", "toy:slow", "--out", out)
    drawing(out, process)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode and err.count("Error: Interrupted.") <= 1 and gone(out) < 4
    found, expected = images(out), images(whole)
    assert 0 < len(found) < 20 and all(expected[name] == data for name, data in found.items())
    finish(torchrun("-m", "seeds", *RUN, "--model", "toy:slow", "--out", out, "--resume"))
    assert images(out) == expected and not left_over(tmp_path)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--model toy:colour --solver seeds-33", "There is no solver 'seeds-33'"),
        ("--model absent.safetensors", "There is no file absent.safetensors"),
        ("--model toy:first_only", "The model's `shape` is None"),
    ],
    ids=["usage", "failure", "second process only"],
)
def test_a_mistake_is_told_once_whoever_makes_it(tmp_path, words, sentence):
    process = torchrun("-m", "seeds", "sample", *words.split(), "--out", tmp_path / "out")
    err = process.communicate(timeout=120)[1]
    assert process.returncode and [
        line[7 : 7 + len(sentence)] for line in err.splitlines() if line.startswith("Error: ")
    ] == [sentence]


def test_a_training_shared_by_two_processes_is_that_of_one(tmp_path):
    """Moments are compared: Adam's step makes much of the rounding of a small gradient."""
    words = "--images 24 --batch 8 --warmup 8 --cooldown 8 --channels 8 --float32 --device cpu --seed 3".split()
    said = finish(torchrun("-m", "--", "recipes.train_emoji_unet", "--run", tmp_path, *words))
    assert said.count("24 images seen") == 1 and "cpu (float32)" in said
    shared, whole = load_file(tmp_path / "state.safetensors"), trainer_alone()
    loss, data = loss_of(whole.network, whole.settings.sd, torch.float32), emoji.read("train")
    for _ in range(3):
        whole.step(loss, batch_at(data, 9, whole.seen, whole.settings))
    moments = {name: tensor for name, tensor in whole.tensors().items() if "exp_avg" in name}
    assert len(moments) > 100 and any(bool(tensor.any()) for tensor in moments.values())
    for name, tensor in moments.items():
        torch.testing.assert_close(shared[name], tensor, rtol=0, atol=1e-3 * float(tensor.abs().max()) + 1e-9)


def trainer_alone():
    subject, settings = train_emoji_unet.SUBJECT, train_emoji_unet.SETTINGS
    settings = replace(settings, seed=3, images=24, batch=8, warmup=8, cooldown=8)
    return Trainer(replace(subject, network=subject.network | {"model_channels": 8}), settings)


def test_processes_share_a_training_batch_evenly_or_are_refused():
    with pytest.raises(ValueError, match=r"3 processes cannot share batches of 64 .* --batch that is a multiple of 3"):
        Trainer(train_emoji_unet.SUBJECT, Settings(), "meta", Group(1, 3))
