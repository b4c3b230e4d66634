"""The command line: what it makes, and one clear sentence with an exit code for what it cannot."""

import hashlib
import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import own
import pytest
import torch
import toy

import seeds
from seeds.__main__ import spin_less
from seeds.checkpoints import bundled
from seeds.cli import COMMANDS, commands, main
from seeds.cli.info import strict
from seeds.cli.options import arguments
from seeds.plans import Plan
from seeds.runs import DTYPES, Job, parse_seeds, run
from seeds.runs.folder import limited

PLAIN = ("sample", "--model", "toy:plain", "--solver", "seeds-2", "--steps", "3")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("SEEDS_DEBUG", raising=False)

    def run_command(*words):
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run_command


def images(folder):
    return {path.name: path.read_bytes() for path in Path(folder).rglob("[0-9]*.png")}


def test_sample_makes_what_the_library_makes(call, tmp_path):
    code, out, err = call(*PLAIN, "--seeds", "2,5-7", "--batch", "3")
    said, last = out.splitlines()
    assert (
        code == 0
        and err == ""
        and said.startswith("4 images (4 drawn last), 7 NFE each, ")
        and said.endswith(" s: out")
    )
    assert (
        last == "Look at out/grid.png; its distance to a reference: seeds fid out (--ref, --features: docs/measure.md)."
    )
    assert {"grid.png", "run.json", "SHA256SUMS"} <= set(os.listdir("out"))
    plan = seeds.plan("seeds-2", steps=3, schedule="edm")
    run(Job(toy.plain(), plan, (2, 5, 6, 7), batch=3), tmp_path / "own", progress=False)
    assert images("out") == images("own") and len(images("out")) == 4
    record = json.loads(Path("out/run.json").read_text())
    assert record["command"] == f"seeds {' '.join(PLAIN)} --seeds 2,5-7 --batch 3"
    assert record["job"]["version"] == seeds.__version__ and record["job"]["plan_sha256"] == plan.digest


def test_a_plan_in_a_file_is_the_run_that_its_options_make(call):
    options = (
        "--solver",
        "adams",
        "--k",
        "3",
        "--corrector",
        "3",
        "--variable",
        "nsr^0.45",
        "--steps",
        "3",
        "--eta",
        "0.5",
    )
    code, out, _ = call("plan", "--model", "toy:plain", *options, "--out", "plan.json")
    assert (
        code == 0
        and "Law 2" in out
        and seeds.Plan.load("plan.json").about["options"] == {"k": 3, "corrector": 3, "variable": "nsr^0.45"}
    )
    assert call("sample", "--model", "toy:plain", *options, "--seeds", "0-1", "--out", "a")[0] == 0
    assert (
        call(
            "sample",
            "--model",
            "toy:plain",
            "--plan",
            "plan.json",
            "--seeds",
            "0-1",
            "--out",
            "b",
            "--noise",
            "gaussian",
        )[0]
        == 0
    )
    assert images("a") == images("b") and len(images("a")) == 2
    code, _, err = call("sample", "--model", "toy:plain", "--plan", "plan.json", "--steps", "4", "--out", "c")
    assert code == 2 and "`--plan` fixes the whole run, but `--steps` is given too" in err and not Path("c").exists()
    Path("wrong.json").write_text("{")
    code, _, err = call("sample", "--model", "toy:plain", "--plan", "wrong.json", "--out", "c")
    assert code == 2 and "wrong.json: `text` is not a plan" in err
    assert call("sample", "--model", "toy:plain", "--plan", "none.json", "--out", "c")[0] == 2


def test_faults_of_a_users_own_module_are_told_as_they_are(call):
    Path("half.py").write_text("import torch\ntorch.no_such_name\n")
    Path("angry.py").write_text(
        "def make():\n    def model(x, at, labels=None):\n        raise ValueError('not today')\n"
        "    model.shape, model.schedule = (1, 2, 2), 'edm'\n    return model\n"
    )
    code, _, err = call("sample", "--model", "half:make", "--seeds", "0")
    assert code == 1 and "has no attribute 'no_such_name'" in err and "has no make" not in err
    code, _, err = call("sample", "--model", "angry:make", "--seeds", "0", "--out", "x")
    assert code == 1 and err == "Error: ValueError: not today (SEEDS_DEBUG=1 shows where.)\n"


def test_options_reach_the_plan_and_the_run(call):
    words = [
        "--solver",
        "seeds-3",
        "--variant",
        "3b",
        "--r",
        "0.4,0.7",
        "--eta",
        "\N{MINUS SIGN}inf:0,1.2:1.5",
        "--grid",
        "uniform_lam",
    ]
    words += [
        "--prediction",
        "v",
        "--schedule",
        "vp",
        "--nsr-min",
        0.1,
        "--nsr-max",
        20,
        "--final",
        "none",
        "--s-noise",
        1.1,
        "--steps",
        2,
    ]
    code, _, err = call(
        "sample",
        "--model",
        "toy:colour",
        "--seeds",
        "0-1",
        *words,
        "--noise",
        "two-point",
        "--class",
        3,
        "--guidance",
        1.5,
    )
    assert code == 0, err
    made = json.loads(Path("out/run.json").read_text())
    wanted = seeds.plan(
        "seeds-3", variant="3b", r=(0.4, 0.7), eta=[(-float("inf"), 0), (1.2, 1.5)], grid="uniform_lam", prediction="v",
        schedule="vp", nsr_min=0.1, nsr_max=20, final="none", s_noise=1.1, steps=2,
    )  # fmt: skip
    assert Plan.from_json(made["plan"]) == wanted
    assert made["job"] | {"noise": "two-point", "class": 3, "guidance": 1.5} == made["job"]


def test_the_default_is_auto_with_20_calls_on_the_model_s_own_levels(call):
    assert call("sample", "--model", "toy:trained_from_1_to_10", "--seeds", "1")[0] == 0
    plan = Plan.from_json(json.loads(Path("out/run.json").read_text())["plan"])
    assert plan == seeds.plan_for(None, nfe=20, schedule="edm", nsr_min=1.0, nsr_max=10.0) and (
        plan.solver,
        plan.nfe,
    ) == ("auto", 20)
    assert arguments({"grid": (3.0, 2.0, 1.0)}) == {"grid": (3.0, 2.0, 1.0)}
    assert arguments({"solver": "seeds-3"})["steps"] == 20, "a named solver has steps"
    assert (
        call("sample", "--model", "toy:plain", "--seeds", "1", "--nfe", "5", "--aim", "accuracy", "--out", "b")[0] == 0
    )
    about = json.loads(json.loads(Path("b/run.json").read_text())["plan"])["about"]
    assert (about["solver"], about["aim"], about["nfe"]) == ("auto", "accuracy", 5)


def test_the_default_model_is_the_bundled_network(call):
    assert call("sample", "--seeds", "7", "--solver", "erk-1", "--steps", "1")[0] == 0
    made = json.loads(Path("out/run.json").read_text())
    assert made["job"]["model"] == "fashion-unet" and Plan.from_json(made["plan"]).nfe == 2 and len(images("out")) == 1
    assert made["job"]["model_sha256"] == hashlib.sha256(bundled()["fashion-unet"].read_bytes()).hexdigest()


def test_make_sample_asks_for_64_images_of_the_default_of_20_calls():
    (line,) = re.findall(
        r"^\t\$\(BIN\)/seeds sample (.*)$", (Path(__file__).parents[2] / "Makefile").read_text(), re.MULTILINE
    )
    asked = commands.get_command(None, "sample").make_context("sample", shlex.split(line)).params
    assert asked["model"] == "fashion-unet" and len(parse_seeds(asked["seed_text"])) == 64 and asked["nfe"] == 20
    assert not any(asked[name] for name in ("solver", "aim", "steps", "grid", "schedule", "final")), (
        "all else is the default"
    )


def test_sigmas_and_times_may_stand_for_a_grid(call):
    assert "ends at t = 0" in call("plan", "--sigmas", "10,1,0.1,0")[1]
    assert "5 model calls" in call("plan", "--solver", "seeds-1", "--grid", "5,4,3,2.5,.5")[1]


def test_resume_completes_and_a_second_run_is_refused(call):
    assert call(*PLAIN, "--seeds", "0-5", "--batch", "2")[0] == 0
    whole = images("out")
    Path("out/000003.png").unlink()
    code, _, err = call(*PLAIN, "--seeds", "0-5", "--batch", "2")
    assert code == 2 and "out holds a run (done). Complete it with --resume" in err
    code, out, _ = call(*PLAIN, "--seeds", "0-5", "--batch", "2", "--resume")
    assert code == 0 and "(2 drawn last)" in out and images("out") == whole


def test_models_are_found_in_the_current_folder(call, tmp_path):
    (tmp_path / "my_model.py").write_text("import toy\n\nclass house:\n    make = toy.colour\n")
    assert call("sample", "--model", "my_model:house.make", "--seeds", "0", "--nfe", "1")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("sample --model toy:plain --seeds 5-1", 2, "the range 5-1 runs backwards"),
        ("sample --model toy:plain --seeds=-4", 2, "no list of seeds"),
        ("sample --model toy:plain --solver seed-3", 2, "There is no solver 'seed-3'. Did you mean 'seeds-3'"),
        ("sample --model toy:plain --solver seeds-3 --steps 0", 2, "`steps` = 0 must be a whole number, at least 1"),
        (
            "sample --model toy:plain --steps 9",
            2,
            "`steps` = 9 means nothing without a solver, as the default counts model calls: give `nfe` = 9 instead",
        ),
        ("plan --solver auto --steps 9", 2, "`steps` = 9 means nothing without a solver"),
        (
            "plan --solver seeds-3 --aim law",
            2,
            "`aim` = 'law' is of the default, solver='auto', but `solver` is 'seeds-3'",
        ),
        ("plan --solver erk-3 --fraction 0.5", 2, "`fraction` = 0.5 makes noise, but erk-3 solves the ODE"),
        ("sample --model toy:plain --grid 0.1,0.5,1", 2, "must fall strictly"),
        ("sample --model toy:plain --grid karas", 2, "Did you mean 'karras'"),
        ("sample --model toy:plain --grid 1,0.5,x", 2, "no number, nor numbers with commas"),
        ("sample --model toy:plain --eta 1:x", 2, "nor a table of lam_from:value"),
        ("sample --model toy:plain --eta -1", 2, "`eta` must be a number from 0"),
        ("sample --model toy:plain --solver erk-2 --eta 1", 2, "Use seeds-2"),
        ("sample --model toy:plain --schedule linear", 2, "There is no schedule 'linear'"),
        ("sample --model toy:plain --noise white", 2, "There is no noise 'white'"),
        ("sample --model toy:plain --class 3", 2, "has no classes"),
        ("sample --model toy:plain --device cuda:99", 2, "is not available here. Available: "),
        ("sample --model toy:plain --batch 0", 2, "Invalid value for '--batch'"),
        ("sample --model toy:plain --dtype int8", 2, "Invalid value for '--dtype'"),
        ("sample --model toy:plain --stepps 3", 2, "No such option"),
        ("sample --model toy:nothing", 2, "has no nothing"),
        ("sample --model nowhere:make", 2, "there is no module nowhere"),
        ("sample --model no.where:make", 2, "there is no module no.where"),
        ("sample --model nothing", 1, "There is no file nothing and no bundled model"),
        ("sample --model toy:plain --disc vp", 2, "With auto give --grid instead"),
        (
            "sample --model toy:plain --solver etd-serk --grid vp",
            2,
            "`--grid` is of another spelling than `--solver etd-serk`",
        ),
        ("sample --model toy:plain --out run.txt/out", 1, "run.txt/out/run.json cannot be written: Not a directory"),
        ("sample --model toy:nan --seeds 0-3", 1, "NaN or inf"),
        ("sample --model toy:broken --seeds 0-3", 1, "RuntimeError: "),
        ("plan --sigmas 1,2", 2, "must fall strictly"),
        (
            "sample --model toy:plain --out=",
            2,
            "Invalid value for '--out' / '--outdir': it is empty; give a name",
        ),
        ("curves --row 0 --out=", 2, "Invalid value for '--out': it is empty"),
        ("ref --images run.txt --features fashion-features --out=", 2, "Invalid value for '--out': it is empty"),
        ("fly", 2, "No such command 'fly'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(call, words, code, sentence):
    Path("run.txt").write_text("")
    got, out, err = call(*words.split())
    assert (got, out) == (code, "") and sentence in err
    assert err.count("\n") == 1 and err.startswith("Error: ") and "Traceback" not in err
    assert not images("out")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("own:nothing", "returned None, but must return a denoiser: seeds.wrap(network, "),
        ("own:text", "returned 'fashion-unet', but must return a denoiser"),
        ("own:bare", "returned a bare network, Net, which does not say what it was trained to output"),
        ("own:Net", "returned a bare network, Net"),
        ("own:needs", "needs path, but must be a function that takes nothing, or `device`"),
        ("own:Path.cwd", "returned a PosixPath, but must return a denoiser"),
        ("own:torch", "is a module, but must be a function"),
        ("own:latents_only", "Give a latent model its `decode`"),
        ("own:wrong_decoder", "`decode` made a tensor of shape (4, 4, 8, 8) of latents (4, 4, 8, 8), but images are"),
    ],
)
def test_slips_of_a_factory_are_named(call, model, words):
    code, _, err = call("sample", "--model", model, "--seeds", "0-3")
    assert code == 2 and words in err and err.count("\n") == 1 and not Path("out").exists()


def test_a_factory_may_take_the_device(call, monkeypatch):
    given = []
    monkeypatch.setattr("own.on_device", lambda device: given.append(device) or own.wrapped())
    assert call("sample", "--model", "own:on_device", "--device", "cpu", "--seeds", "0", "--nfe", "1")[0] == 0
    assert call("sample", "--model", "own:on_device", "--seeds", "0", "--nfe", "1", "--out", "b")[0] == 0
    assert given[0] == "cpu" and given[1] in ("cpu", "cuda")


def test_a_model_that_cannot_be_moved_is_told_of_before_the_first_image(call, monkeypatch):
    monkeypatch.setattr("seeds.modules.check_device", lambda device: None)  # as if there were a TPU
    code, _, err = call("sample", "--model", "own:stays", "--device", "xla", "--seeds", "0")
    assert code == 2 and "`device` = 'xla': Net cannot be moved there (" in err
    assert "leave `device` out, or choose another device." in err and not Path("out").exists()


def test_a_model_that_does_not_compute_on_the_device_is_told_of_before_the_first_image(tmp_path):
    weight = torch.ones(3, 1, 1)  # on the CPU; the fake device refuses to mix

    def answer(x, at):
        return x * weight if x.device == weight.device else torch.matmul(x, weight)

    answer.shape, answer.schedule, answer.classes = (3, 8, 8), "vp", 0
    plan = seeds.plan("seeds-1", steps=1, schedule="vp")
    with pytest.raises(
        ValueError, match=r"`device` = 'meta': the model does not compute there \(.*\)\. Let its factory take `device`"
    ):
        run(Job(answer, plan, (0,), device="meta"), tmp_path / "out", progress=False)


def test_ctrl_c_leaves_whole_files_and_130(call):
    words = ("--seeds", "0-3", "--batch", "1", "--solver", "seeds-1", "--steps", "1")
    code, _, err = call("sample", "--model", "toy:interrupted", *words)
    assert (
        code == 130
        and err.strip() == "Error: Interrupted. Every file that is there is whole; a run is completed with --resume."
    )
    assert (
        sorted(images("out")) == ["000000.png", "000001.png"]
        and json.loads(Path("out/run.json").read_text())["status"] == "running"
    )


def test_the_traceback_is_there_for_those_who_ask(call, monkeypatch):
    monkeypatch.setenv("SEEDS_DEBUG", "1")
    with pytest.raises(RuntimeError):
        call("sample", "--model", "toy:broken")


def test_convert_to_nowhere_is_refused(call):
    assert "OUT.safetensors': it is empty" in call("convert", "net.pkl", "")[2]


def test_a_pickle_is_refused_with_the_command_to_paste(call):
    Path("net.pkl").write_bytes(b"\x80\x04.")
    code, _, err = call("sample", "--model", "net.pkl")
    assert code == 1 and "seeds convert net.pkl net.safetensors" in err


def test_null_is_the_class_that_guidance_takes_for_none_and_is_recorded(call, tmp_path):
    words = ["sample", "--model", "toy:colour", "--seeds", "0,1", "--nfe", "2", "--class", "3"]
    drawn = {}
    for name, more in {
        "none": [],
        "five": ["--null", "5"],
        "three": ["--null", "3"],
        "plain": ["--guidance", "1"],
    }.items():
        assert call(*words, "--guidance", "2", *more, "--out", name)[0] == 0
        drawn[name] = Path(name, "000000.png").read_bytes(), json.loads(Path(name, "run.json").read_text())
    assert len({png for png, _ in drawn.values()}) == 3 and drawn["three"][0] == drawn["plain"][0]
    assert drawn["five"][1]["job"]["null"] == 5 and drawn["none"][1]["job"]["null"] is None
    code, _, err = call(*words, "--guidance", "2", "--null", "4", "--out", "five", "--resume")
    assert code == 2 and "null" in err
    code, _, err = call(*words, "--null", "5", "--out", "other")
    assert code == 2 and "`null` = 5 is the class that guidance takes for none, but there is no guidance" in err


def test_plan_prints_the_table_and_its_laws(call):
    code, out, _ = call("plan", "--solver", "seeds-3", "--steps", "5", "--prediction", "noise", "--schedule", "vp")
    made = seeds.plan("seeds-3", steps=5, prediction="noise", schedule="vp")
    assert code == 0 and out.startswith(made.table()) and "16 model calls, 15 draws" in out
    errors = [float(line.split()[-1].rstrip(".")) for line in out.splitlines() if line.startswith("Law ")]
    assert len(errors) == 2 and max(errors) < 1e-12 and "ODE 3, weak 2" in out
    assert "broken by s_noise = 1.1" in call("plan", "--s-noise", "1.1")[1]


def test_plan_without_laws_says_the_orders(call):
    out = call("plan", "--solver", "rk-2", "--S_churn", "40")[1]
    assert "41 model calls" in out and "ODE 2, weak 2" in out and "Law" not in out


def test_plan_as_json_is_the_plan(call):
    out = call("plan", "--json", "--model", "toy:trained_from_1_to_10", "--solver", "seeds-3", "--steps", "2")[1]
    assert Plan.from_json(out) == seeds.plan("seeds-3", steps=2, schedule="edm", nsr_min=1.0, nsr_max=10.0)


def test_the_authors_spelling_draws_what_ours_draws(call):
    theirs = [
        "--solver",
        "etd-serk",
        "--order",
        2,
        "--steps",
        4,
        "--outdir",
        "theirs",
        "--seeds=1-3",
        "--noise_pred",
        "False",
    ]
    assert (
        call("sample", "--network", "toy:plain", *theirs, "--disc", "edm", "--schedule", "linear", "--scaling", "none")[
            0
        ]
        == 0
    )
    assert (
        call("sample", "--model", "toy:plain", "--solver", "seeds-2", "--steps", 3, "--out", "ours", "--seeds", "1-3")[
            0
        ]
        == 0
    )
    assert images("theirs") == images("ours") and len(images("ours")) == 3


def test_help_version_and_an_empty_line(call):
    code, out, _ = call()
    assert code == 0 and all(f"\n  {name} " in out for name in COMMANDS)
    assert call("--version")[1] == f"seeds, version {seeds.__version__}\n"
    for command in COMMANDS:
        code, out, _ = call(command, "--help")
        assert code == 0 and out.startswith(f"Usage: seeds {command} ")


def test_the_list_of_commands_is_what_the_commands_say():
    for name, (_, said) in COMMANDS.items():
        assert said == commands.get_command(None, name).get_short_help_str(100)
    (dtype,) = [option for option in commands.get_command(None, "sample").params if option.name == "dtype"]
    assert list(dtype.type.choices) == list(DTYPES)


def test_what_needs_no_torch_does_not_wait_for_it():
    lines = [
        ["--version"],
        ["smaple"],
        ["sample", "--bogus"],
        ["plan", "--steps", "x"],
        *([name, "--help"] for name in COMMANDS),
    ]
    code = f"import sys; from seeds.cli import main; print([main(line) for line in {lines}], 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == f"{[0, 2, 2, 2] + [0] * len(COMMANDS)} False"


@pytest.mark.parametrize("module", ["click", "torch"])
def test_ctrl_c_while_something_loads_ends_in_one_sentence(module, tmp_path):
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    ended = subprocess.run(
        [sys.executable, "-m", "seeds", "plan"], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert (
        ended.returncode == 130 and re.fullmatch(r"\n?Error: Interrupted[^\n]*\n", ended.stderr) and ended.stdout == ""
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_guidance_that_is_no_number_is_refused_at_once(call, value):
    code, _, err = call(*PLAIN, "--guidance", value)
    assert code == 2 and "'--guidance'" in err and "finite" in err and not Path("out").exists()


@pytest.mark.parametrize("device", ["meta", "", "cpux"])
def test_a_device_that_computes_nothing_is_refused(call, device):
    code, _, err = call(*PLAIN, "--device", device)
    assert (
        code == 2 and f"`device` = {device!r} is not available here. Available: cpu" in err and not Path("out").exists()
    )


def test_info_is_json_that_strict_readers_take(call):
    def never(name):
        raise AssertionError(name)

    for name in bundled():
        code, out, _ = call("info", name, "--json")
        assert code == 0 and json.loads(out, parse_constant=never)["name"]
    assert strict({"a": [math.inf, (-math.inf, 1.0)], "b": math.nan}) == {"a": ["inf", ["-inf", 1.0]], "b": "nan"}


def test_a_pipe_among_the_images_keeps_nobody_waiting(call):
    assert call(*PLAIN, "--seeds", "0-2")[0] == 0
    for name in ("000001.png", "run.json"):
        Path(f"out/{name}").unlink()
        os.mkfifo(f"out/{name}")
        code, _, err = call(*PLAIN, "--seeds", "0-2", "--resume")
        assert (
            code == 2
            and f"{name} is a pipe, a socket or a device, and no file." in err
            and Path(f"out/{name}").is_fifo()
        )


@pytest.mark.parametrize("threads", [0, 1025, 100_000])
def test_more_threads_than_a_process_bears_are_refused(call, threads):
    code, _, err = call(*PLAIN, "--threads", threads)
    assert code == 2 and "'--threads'" in err and not Path("out").exists()
    with pytest.raises(ValueError, match=f"`threads` = {threads} must be from 1 to 1,024"), limited(threads):
        raise AssertionError


def test_python_m_seeds():
    ended = subprocess.run(
        [sys.executable, "-m", "seeds", "sample", "--seeds", "5-1", "--model", "a:b"], capture_output=True, text=True
    )
    assert ended.returncode == 2 and ended.stderr.startswith("Error: ") and "Traceback" not in ended.stderr


def test_threads_that_wait_are_told_to_sleep_before_torch_is_loaded():
    """The variable is read when the library is loaded; what somebody has set stays."""
    code = "import sys, seeds.__main__; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
    for given, then in (
        ({}, {"GOMP_SPINCOUNT": "10000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ):
        spin_less(given)
        assert given == then
