"""Marked tests are never left out silently, also by several processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("how", [(), ("-n", "2")], ids=["one process", "two"])
def test_tests_that_need_what_is_not_here_are_counted_at_the_end(how, tmp_path):
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *how,
            "tests/browser",
            "tests/unit/test_grids.py",
            "-k",
            "page or vp",
        ],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(
        r"^left out: [1-9]\d* browser tests \(no Chromium, or no chromedriver or selenium\)$",
        ended.stdout,
        re.MULTILINE,
    )
