"""Several processes: how much faster they draw, two nodes, and what becomes of a run whose worker or agent is killed.

    python trials/processes.py speed --repeats 5
    python trials/processes.py nodes
    python trials/processes.py kills --kills 20

Each run is compared with one process' by the SHA-256 over its PNG files (run.json). Prints JSON, one line for each kill
before it, and exits with 1 if bytes differ, or a file or a process is left over.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]), "OMP_NUM_THREADS": "1"}
PYTHON, TORCHRUN = [sys.executable], [sys.executable, "-m", "torch.distributed.run"]
TOY = "sample --model processes:Slow --solver seeds-2 --steps 2 --batch 4 --seeds 0-79 --threads 1"
PATIENCE = 300
"""Seconds that a run may take, kills and all."""
MOST = 4
"""Seconds that a worker may outlive its agent."""


class Slow:
    """Gaussian data, answered slowly enough to be killed inside a unit as well as between two."""

    shape, classes, schedule = (3, 32, 32), 4, "edm"

    def __call__(self, x, at, labels=None):
        time.sleep(0.03)
        mean = 0.1 * labels.view(-1, 1, 1, 1).to(x)
        return mean + 0.25 * at.alpha / (0.25 * at.alpha**2 + at.sigma**2) * (x - at.alpha * mean)


def start(*words: object, before: Sequence[str] = (), **environment: str) -> subprocess.Popen:
    """A process of Python's, in a session of its own; what it says is kept for `finish`."""
    return subprocess.Popen(
        [*before, *map(str, words)],
        cwd=HERE,
        env=ENVIRONMENT | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def group(words: str, out: Path, restarts: int = 0) -> subprocess.Popen:
    """Two processes under one agent."""
    agent = ["--standalone", "--nproc_per_node=2", f"--max-restarts={restarts}"]
    return start(*TORCHRUN, *agent, "-m", "seeds", *words.split(), "--out", out)


def finish(*processes: subprocess.Popen) -> None:
    """Waits for their end. Raises: SystemExit if one fails."""
    for process in processes:
        said = process.communicate(timeout=PATIENCE)[1]
        if process.returncode:
            raise SystemExit(f"Exit code {process.returncode}: {' '.join(process.args)}\n{said}")


def record(out: Path) -> dict:
    """The record of a run, in its folder or its archive."""
    if out.is_dir():
        return json.loads((out / "run.json").read_text())
    from seeds.runs import packing

    return packing.record(out)


def digest(out: Path) -> str:
    """SHA-256 over the images, as they are now and not as the record says; of an archive over its members but
    run.json."""
    from seeds import storage

    if out.is_dir():
        return storage.digest(out, [path.relative_to(out).as_posix() for path in out.rglob("[0-9]*.png")])
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(out) as file:
        file.extractall(folder)
        return storage.digest(Path(folder), [name for name in file.namelist() if not name.startswith("run.json")])


# One process against two ----------------------------------------------------------------------------------------------


def speed(options: argparse.Namespace, folder: Path) -> bool:
    """Two processes of a group, and two shards that know nothing of each other: what the machine itself gives, beside
    which the group is judged."""
    words = (
        f"sample --model {options.model} --seeds 0-{options.images - 1} --batch {options.batch} --solver seeds-3 "
        f"--steps {options.steps} --threads 1"
    )

    def alone(out: Path, *more: str) -> subprocess.Popen:
        return start(*PYTHON, "-m", "seeds", *words.split(), "--out", out, *more)

    ways = {
        "one process": lambda out: [alone(out)],
        "two processes": lambda out: [group(words, out)],
        "two shards": lambda out: [alone(out, "--shard", "1/2"), alone(out, "--shard", "2/2")],
    }
    seconds, digests, nfe = {name: [] for name in ways}, set(), 0
    for turn in range(options.repeats):
        for name in sorted(ways, reverse=turn % 2 == 1):
            out = folder / f"{turn} {name}"
            finish(*ways[name](out))
            made = record(out)
            seconds[name].append(made["seconds"])
            digests.add(made["files"]["sha256"])
            nfe = made["job"]["nfe"]

    def ratios(above: str, below: str) -> dict:
        each = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
        return {"median": round(statistics.median(each), 3), "each": [round(ratio, 3) for ratio in each]}

    said = {
        "model": options.model, "images": options.images, "batch": options.batch, "nfe": nfe, "cores": os.cpu_count(),
        "load": os.getloadavg()[0], "seconds of drawing": seconds,
        "speed-up of two processes": ratios("one process", "two processes"),
        "speed-up of two shards": ratios("one process", "two shards"),
        "two processes beside two shards": ratios("two shards", "two processes"), "same bytes": len(digests) == 1,
    }  # fmt: skip
    print(json.dumps(said, indent=2))
    return len(digests) == 1


# Two nodes ------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def nodes(
    words: str, out: Path, each: Sequence[tuple[Sequence[str], str, str]], **environment: str
) -> list[subprocess.Popen]:
    """Two agents of one process with one rendezvous, at the first. `each`: (words before the command, address, network
    interface) of the two."""
    meeting = ["--nnodes=2", "--nproc_per_node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={each[0][1]}:{free_port()}"]
    agents = [
        [*TORCHRUN, *meeting, f"--rdzv-conf=is_host={int(k == 0)}", f"--local-addr={each[k][1]}"] for k in range(2)
    ]
    return [
        start(
            *agent, "-m", "seeds", *words.split(), "--out", out, before=before, GLOO_SOCKET_IFNAME=name, **environment
        )
        for agent, (before, _, name) in zip(agents, each, strict=True)
    ]


LOOPBACK = [([], "127.0.0.1", "lo")] * 2


@contextmanager
def networks() -> Iterator[list[tuple[list[str], str, str]]]:
    """Two network namespaces, joined by a veth pair: for each (the words that run a command in it, its address, its
    interface).

    Raises: OSError saying why this machine does not allow them.
    """
    if not shutil.which("ip"):
        raise OSError("There is no `ip` command (iproute2).")
    names = [f"seeds-{os.getpid()}-{k}" for k in range(2)]

    def ip(words: str) -> None:
        ran = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
        if ran.returncode:
            raise OSError(f"`ip {words}`: {ran.stderr.strip()}")

    try:
        for name in names:
            ip(f"netns add {name}")
        ip(f"link add veth0 netns {names[0]} type veth peer name veth1 netns {names[1]}")
        for k, name in enumerate(names):
            ip(f"-n {name} addr add 10.86.0.{k + 1}/24 dev veth{k}")
            ip(f"-n {name} link set veth{k} up")
            ip(f"-n {name} link set lo up")
        yield [(["ip", "netns", "exec", name], f"10.86.0.{k + 1}", f"veth{k}") for k, name in enumerate(names)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def two_nodes(options: argparse.Namespace, folder: Path) -> bool:
    finish(start(*PYTHON, "-m", "seeds", *TOY.split(), "--out", folder / "one"))
    said = {"one process": digest(folder / "one")}
    finish(*nodes(TOY, folder / "loopback", LOOPBACK))
    said["two nodes on loopback"] = digest(folder / "loopback")
    try:
        with networks() as each:
            finish(*nodes(TOY, folder / "networks", each))
            said["two nodes on two network namespaces"] = digest(folder / "networks")
    except OSError as error:
        print(f"Two network namespaces could not be made, so nothing was drawn on them: {error}", file=sys.stderr)
    same = len(set(said.values())) == 1
    print(json.dumps({**said, "same bytes": same}, indent=2))
    return same


# Kills ----------------------------------------------------------------------------------------------------------------


def processes(out: Path) -> list[tuple[int, int]]:
    """(id, id of the parent) of those that have `out` on their command line."""
    lines = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [
        (int(pid), int(parent))
        for pid, parent, words in (line.split(None, 2) for line in lines)
        if str(out) in words.split()
    ]


def workers(agent: subprocess.Popen, out: Path) -> list[int]:
    """The processes of an agent, once all are there."""
    while agent.poll() is None:
        found = [pid for pid, parent in processes(out) if parent == agent.pid]
        if len(found) == 2:
            return found
        time.sleep(0.02)
    raise SystemExit(f"The agent ended on its own.\n{agent.communicate()[1]}")


def gone(out: Path) -> float:
    """Seconds until no process has `out` on its command line, MOST at the longest."""
    begun = time.monotonic()
    while processes(out) and time.monotonic() - begun < MOST:
        time.sleep(0.05)
    return time.monotonic() - begun


def left_over(folder: Path) -> list[str]:
    """What a finished run must not leave."""
    return [path.name for path in folder.rglob("*") if path.name.endswith((".part", ".parts"))]


def kills(options: argparse.Namespace, folder: Path) -> bool:
    chance, bad, done = random.Random(options.seed), 0, {"agent": 0, "worker": 0}
    expected, length = {}, 0.0
    for name in ("out", "out.npz"):
        alone, out = folder / "one" / name, folder / "whole" / name
        finish(start(*PYTHON, "-m", "seeds", *TOY.split(), "--out", alone))
        expected[name] = digest(alone)
        agent = group(TOY, out)
        workers(agent, out)
        begun = time.monotonic()
        finish(agent)
        length = time.monotonic() - begun
        bad += digest(out) != expected[name]
    while sum(done.values()) < options.kills:
        number = sum(done.values()) + 1
        target, name = "agent" if number % 4 == 0 else "worker", "out.npz" if number % 3 == 0 else "out"
        out, moment = folder / f"killed-{number}-{chance.random()}" / name, chance.uniform(0, length)
        agent = group(TOY, out, restarts=3)
        victims = workers(agent, out)
        time.sleep(moment)
        pid = agent.pid if target == "agent" else chance.choice(victims)
        there = len(list(out.parent.rglob("[0-9]*.png")))
        if agent.poll() is not None or pid not in [one for one, _ in processes(out)]:
            finish(agent)  # it was done before; another moment
            continue
        os.kill(pid, signal.SIGKILL)
        done[target] += 1
        if target == "agent":
            agent.wait()
            said = "run again at once"
            if done[target] % 2:
                said = f"its workers ended within {gone(out):.1f} s, run again"
            agent = group(f"{TOY} --resume", out)
        else:
            said = "started again by the agent"
        finish(agent)
        faults = ["bytes"] * (digest(out) != expected[name] or record(out)["status"] != "done") + left_over(out.parent)
        gone(out)
        faults += [f"process {pid}" for pid, _ in processes(out)]
        print(
            f"kill {number:2}: {target:6}, {moment:4.1f} s after the start, {there:2} of 80 files there, {said}: "
            f"{faults or 'same bytes'}",
            flush=True,
        )
        bad += len(faults)
    print(json.dumps({"kills": done, "faults": bad}))
    return bad == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(required=True)
    timed = parts.add_parser("speed", help="one process against two of one thread each")
    timed.add_argument("--model", default="fashion-unet")
    for name, default in (("images", 256), ("batch", 32), ("steps", 6), ("repeats", 5)):
        timed.add_argument(f"--{name}", type=int, default=default)
    timed.set_defaults(part=speed)
    parts.add_parser("nodes", help="two agents on loopback, and on two network namespaces").set_defaults(part=two_nodes)
    killed = parts.add_parser("kills", help="SIGKILL of workers and, every fourth time, of the agent")
    killed.add_argument("--kills", type=int, default=20)
    killed.add_argument("--seed", type=int, default=0)
    killed.set_defaults(part=kills)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return int(not options.part(options, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
