"""Progress: a bar on a terminal, a line a minute in a log, and nothing that happens to stderr ends the work."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_cli import call  # noqa: F401, a fixture
from test_distributed import HERE
from torch.distributed import HashStore

from seeds.distributed import Group
from seeds.runs import Progress, progress


class Clock:
    """Time that moves when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def said(capsys):
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_there_is_a_line_a_minute(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    with Progress(Group(), "seeds-3, 10 NFE", 20_000, 2_000) as bar:
        for _ in range(130):
            clock.now += 1
            bar.asked(100)
    assert said(capsys) == [
        "seeds-3, 10 NFE: 600 of 2,000 images, 30% of the work, 10 images/s, 02:20 left",
        "seeds-3, 10 NFE: 1,200 of 2,000 images, 60% of the work, 10 images/s, 01:20 left",
    ]


def test_a_study_tells_the_time_that_is_left_of_all_its_rows(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    with Progress(Group(), "study", 100 * 5 + 100 * 45, 200, even=False) as bar:
        bar.say("row 1/2: seeds-1, 5 NFE", 5)
        for _ in range(5):
            clock.now += 10
            bar.asked(100)
        bar.say("row 2/2: seeds-1, 45 NFE", 45)
        for _ in range(9):
            clock.now += 10
            bar.asked(100)
    assert said(capsys) == [
        "row 2/2: seeds-1, 45 NFE: 102 of 200 images, 12% of the work, 1.7 images/s, 07:20 left",
        "row 2/2: seeds-1, 45 NFE: 115 of 200 images, 24% of the work, 0.958 images/s, 06:20 left",
    ]


def test_short_work_and_work_that_is_not_to_be_shown_say_nothing(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    for show, seconds in ((True, 59), (False, 600)):
        with Progress(Group(), "work", 10, 10, show) as bar:
            clock.now += seconds
            bar.asked(1)
    with Progress(Group(), "nothing", 0, 0) as bar:
        clock.now += 600
    assert said(capsys) == []


class Gone(io.StringIO):
    """A pipe that nobody reads any more; a terminal, if it is asked."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        self.write("")

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize("stderr", [None, Gone(True), Gone(False), "closed"])
def test_a_stderr_that_cannot_be_written_ends_nothing(monkeypatch, stderr):
    clock = Clock(monkeypatch)
    if stderr == "closed":
        stderr = io.StringIO()
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress(Group(), "work", 100, 100) as bar:
        for _ in range(10):
            clock.now += 61
            bar.asked(10)
    assert bar.own == 100


def test_a_run_whose_stderr_is_closed_is_done(tmp_path):
    words = f"{sys.executable} -m seeds sample --model toy:plain --seeds 0-1 --nfe 2 --out {tmp_path / 'out'} 2>&-"
    done = subprocess.run(["sh", "-c", words], cwd=HERE, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and "2 images (2 drawn last)" in done.stdout
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "done"


def test_commands_write_lines_into_a_log(call, monkeypatch):  # noqa: F811
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(progress, "EVERY", -1.0)
    drawn = ("--model", "fashion-mixture", "--seeds", "0-19", "--batch", "10", "--solver", "seeds-1", "--steps", "1")
    err = call("sample", *drawn)[2].splitlines()
    assert err[0].startswith("seeds-1, 2 NFE: 5 of 20 images, 25% of the work, ") and err[-1].startswith(
        "seeds-1, 2 NFE: 20 of 20 images, 100%"
    )
    err = [line for line in call("fid", *drawn)[2].splitlines() if not line.startswith("Warning")]
    assert err[2].startswith("features: 10 of 20 images, 50% of the work, ") and err[2].endswith(" left")
    study = ("curves", *drawn[:6], "--line", "seeds-1", "--nfe", "2,3", "--splits", "2", "--out", "study")
    err = [line for line in call(*study)[2].splitlines() if not line.startswith("Warning")]
    assert (
        err[0].startswith("row 1/2: seeds-1, 2 NFE: 5 of 40 images, 10% of the work, ")
        and Path("study/index.html").exists()
    )


def test_the_line_of_several_processes_counts_the_images_of_all(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(progress, "EVERY", -1.0)
    store = HashStore()

    def work(rank):
        with Progress(Group(rank, 2, store=store), "erk-1, 3 NFE", 30, 10) as bar:
            for _ in range(6):
                bar.asked(5)

    with ThreadPoolExecutor(2) as processes:
        list(processes.map(work, (0, 1)))
    lines = said(capsys)
    assert lines and all(line.startswith("erk-1, 3 NFE: ") and " of 20 images, " in line for line in lines)
    assert lines[-1].startswith("erk-1, 3 NFE: 20 of 20 images, 100% of the work, ")
