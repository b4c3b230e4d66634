"""Every program of `examples/` runs, with few steps and images, and does what it says."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from seeds import checkpoints

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FIXTURE = ROOT / "tests" / "data" / "edm" / "song_edm_cond_aug.pkl"
ARGUMENTS = {  # and what the program then prints
    "edm_checkpoint": (["network.safetensors", "--steps", "1", "--count", "3"], "3 images in images.png"),
    "fashion_unet": (["--classes", "7,1", "--each", "3", "--nfe", "1"], "6 images in clothes.png"),
    "own_network": ([], "256 images, standard deviation 0."),
}
PICTURES = {"images.png": ((18 * 48, 18 * 16), "RGB"), "clothes.png": ((10 * 84, 10 * 56), "L")}  # enlarged


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda program: program.stem)
def test_example(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, printed = ARGUMENTS[program.stem]
    if "network.safetensors" in arguments:
        with pytest.warns(checkpoints.CheckpointWarning, match="none of the published ones"):
            checkpoints.convert(FIXTURE, "network.safetensors")
    monkeypatch.setattr(sys, "argv", [str(program), *arguments])
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out.startswith(printed)
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert (image.size, image.mode) == PICTURES[path.name] and image.getextrema() != (0, 0)


def test_the_examples_are_all_there():
    assert {program.stem for program in EXAMPLES} == set(ARGUMENTS)
