"""Networks on the device: 16 bits, channels-last, compiled; and the commands that ask for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from devices import everywhere, on_gpus
from models import SHAPE, mixture, network

import seeds
from seeds import Point, checkpoints
from seeds.cli import main
from seeds.runs.decoding import Pixels
from seeds.tuning import tuned

ROOT = Path(__file__).parents[2]
KINDS = pytest.mark.parametrize("kind", ["SongUNet", "DhariwalUNet"])


def asked(denoiser, device, nsr=1.0):
    x = torch.linspace(-2, 2, 2 * 192).view(2, *SHAPE).to(device)
    return denoiser(x, Point(nsr, 1.0, nsr), labels=torch.tensor([1, 3], device=device))


@everywhere
@KINDS
@pytest.mark.parametrize(("dtype", "apart"), [("bf16", 0.05), ("fp16", 0.01)])
def test_a_network_in_16_bits_answers_nearly_the_same_in_float32(device, kind, dtype, apart):
    want = asked(network(kind), "cpu")
    denoiser = tuned(network(kind).to(device), dtype=dtype)
    found = asked(denoiser, device)
    assert found.dtype == torch.float32 and found.device.type == device
    assert 0 < (found.cpu() - want).abs().max() < apart * want.abs().max()
    assert all(weight.dtype == torch.float32 for weight in denoiser.parameters())


@everywhere
@KINDS
def test_channels_last_and_float32_are_the_network_to_rounding(device, kind):
    want, denoiser = asked(network(kind, dtype=torch.float64), "cpu"), network(kind).to(device)
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(asked(denoiser.to(memory_format=layout), device).cpu(), want, rtol=0, atol=2e-5)


@on_gpus
@KINDS
@pytest.mark.parametrize("dtype", [None, "bf16", "fp16"])
def test_a_compiled_network_is_the_network_to_rounding(device, kind, dtype):
    torch._dynamo.reset()
    want = asked(tuned(network(kind).to(device), dtype=dtype), device)
    found = asked(tuned(network(kind).to(device), dtype=dtype, compiled=True), device)
    torch.testing.assert_close(found, want, rtol=0, atol={None: 1e-4, "bf16": 0.05, "fp16": 0.01}[dtype])


def test_compiling_asks_for_it_once_and_turns_the_layout(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: compiled.append(self))
    denoiser = network()
    assert (
        tuned(denoiser) is denoiser
        and not compiled
        and tuned(seeds.guide(denoiser, 2.0), compiled=True).inner is denoiser
    )
    assert compiled == [denoiser.model]
    convolution = next(weight for weight in denoiser.parameters() if weight.ndim == 4)
    assert convolution.is_contiguous(memory_format=torch.channels_last)


def test_a_module_of_ones_own_is_cast_as_a_whole():
    module = torch.nn.Conv2d(3, 3, 3, padding=1)
    denoiser = tuned(seeds.wrap(lambda x, t: module(x), schedule="edm"), dtype=None)
    assert denoiser.dtype is None

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x, t):
            return self.inner(x)

    half = tuned(seeds.wrap(Net(), schedule="edm"), dtype="bf16")
    x = torch.ones(2, *SHAPE)
    assert half.dtype == module.weight.dtype == torch.bfloat16 and half(x, Point(1.0, 1.0, 1.0)).dtype == torch.float32


def test_what_holds_no_network_cannot_be_made_faster():
    with pytest.raises(
        ValueError, match=r"`dtype` = 'bf16' and `compile`: a GaussianMixture holds no network that could be changed"
    ):
        tuned(mixture(), dtype="bf16", compiled=True)
    with pytest.raises(ValueError, match=r"`compile`: a Wrapped holds no network"):
        tuned(seeds.wrap(lambda x, t: x, schedule="edm"), compiled=True)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run_command(*words):
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run_command


DRAW = ("sample", "--seeds", "0-3", "--solver", "seeds-1", "--steps", "2")


def pixels(out):
    from seeds.images import open_images

    return torch.cat([torch.from_numpy(piece.images) for piece in open_images(Path(out)).pieces(64)]).int()


@everywhere
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_the_command_draws_in_16_bits_and_writes_it_down(device, dtype, call):
    for name in ("float32", dtype):
        code, _, err = call(*DRAW, "--device", device, "--dtype", name, "--out", name)
        assert code == 0, err
    job = json.loads(Path(dtype, "run.json").read_text())["job"]
    assert job["dtype"] == dtype and job["compiled"] is False and job["device"] == device
    gap = (pixels(dtype) - pixels("float32")).abs()
    assert 0 < gap.max() and gap.float().mean() < 3
    code, _, err = call(*DRAW, "--device", device, "--out", dtype, "--resume")
    assert code != 0 and f"dtype '{dtype}', now 'float32'" in err


def test_the_command_compiles_and_writes_it_down(call, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: compiled.append(self))
    assert call(*DRAW, "--device", "cpu", "--compile")[0] == 0 and len(compiled) == 1
    assert json.loads(Path("out/run.json").read_text())["job"]["compiled"] is True
    code, _, err = call(*DRAW, "--device", "cpu", "--model", "fashion-mixture", "--dtype", "bf16", "--out", "other")
    assert code == 2 and "holds no network that could be changed" in err


@on_gpus
def test_the_device_and_the_cpu_draw_the_same_images(device, call):
    """Of a network of real size, to 2 levels of 255 in all but a few pixels, without TF32; the difference is said (-s
    shows it)."""
    for where in ("cpu", device):
        assert call(*DRAW, "--steps", "9", "--device", where, "--out", where)[0] == 0
    gap = (pixels(device) - pixels("cpu")).abs().float()
    print(f"largest difference {gap.max():.0f} of 255, mean {gap.mean():.4f}")
    assert gap.quantile(0.999) <= 2


@on_gpus
def test_features_are_those_of_the_cpu(device):
    from seeds.metrics.features import from_module

    images = torch.randint(0, 256, (9, 28, 28, 1), generator=torch.Generator().manual_seed(0)).byte().numpy()
    found = [
        from_module(checkpoints.load("fashion-features"), "it", channels="grey", device=where)(images)
        for where in ("cpu", device)
    ]
    torch.testing.assert_close(*map(torch.as_tensor, found), rtol=1e-3, atol=1e-3)


class Latents(torch.nn.Module):
    """Decodes (B, 3, 8, 8) latents to (B, 1, 16, 16) images, one number for each place."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-0.5, 0.5, 12).view(3, 1, 2, 2), requires_grad=False)

    def forward(self, z):
        assert z.device == self.weight.device
        return torch.nn.functional.conv_transpose2d(z, self.weight, stride=2)


@everywhere
def test_latents_are_decoded_on_the_device(device):
    """The decoder is moved with its denoiser, is asked in batches there, and only pixels come back."""
    law, pixels = mixture(), []
    for where in ("cpu", device):
        model = seeds.wrap(
            lambda x, t: law(x, Point(float(t[0]), 1.0, float(t[0]))), schedule="edm", decode=Latents(), decode_batch=2
        ).to(where)
        latents = seeds.sample(
            model, SHAPE, seed=range(5), solver="seeds-3", steps=3, nsr_max=3.0, nsr_min=0.1, device=where
        )
        pixels.append(torch.from_numpy(Pixels.of(model).images(latents)).int())
    assert latents.device.type == device and pixels[0].shape == (5, 16, 16, 1) and pixels[0].float().std() > 1
    assert (pixels[0] - pixels[1]).abs().max() <= 1


PROCESSES = pytest.mark.parametrize(
    ("device", "each"), [("cpu", "1"), pytest.param("cuda", "gpu", marks=pytest.mark.gpu("cuda"))]
)


def started(folder, *words, each=None):
    """Runs Python in a folder, under torchrun if `each` says how many processes; returns what it prints."""
    agent = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={each}"] if each else []
    given = {
        "cwd": folder,
        "env": os.environ | {"PYTHONPATH": str(ROOT)},
        "capture_output": True,
        "text": True,
        "timeout": 300,
    }
    ran = subprocess.run([sys.executable, *agent, *words], **given)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


SUM = """
import torch, torch.distributed as dist
from seeds.distributed import joined
with joined() as group:
    one = torch.ones(3, device=torch.device("{device}", group.local) if "{device}" == "cuda" else "cpu")
    dist.all_reduce(one)
    print(one.tolist() == [group.world] * 3, dist.get_backend_config())
"""


@PROCESSES
def test_processes_add_tensors_where_they_are(device, each, tmp_path):
    """By nccl on a GPU: one is enough to run it."""
    (tmp_path / "sum.py").write_text(SUM.format(device=device))
    told = started(tmp_path, "sum.py", each=each).splitlines()
    assert told and all(line.startswith("True ") and (device == "cpu" or "cuda:nccl" in line) for line in told)


@pytest.mark.gpu("cuda")
def test_torchrun_with_one_process_for_each_gpu(tmp_path):
    started(tmp_path, "-m", "seeds", *DRAW, "--batch", "2", "--out", "many", each="gpu")
    started(tmp_path, "-m", "seeds", *DRAW, "--batch", "2", "--out", "one")
    jobs = [json.loads((tmp_path / name / "run.json").read_text())["job"] for name in ("many", "one")]
    assert (
        all(jobs[0][key] == jobs[1][key] for key in ("seeds", "plan_sha256", "dtype", "batch"))
        and jobs[0]["device"] == "cuda"
    )
    assert (pixels(tmp_path / "many") - pixels(tmp_path / "one")).abs().max() <= 1


def test_processes_take_turns_at_the_gpus(monkeypatch):
    """A pretended machine of two: process 3 has the second."""
    from seeds.cli.session import Session
    from seeds.distributed import Group

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    session = Session(group=Group(rank=3, world=4, local=3))
    assert session.device("cpu") == "cpu" and session.device("cuda:0") == "cuda:0"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert session.device(None) == session.device("cuda") == "cuda:1" and session.device("mps") == "mps"


@everywhere
def test_the_table_of_a_device_stops_early_with_what_it_has(device, tmp_path, monkeypatch, capsys):
    from benchmarks import device as table

    monkeypatch.setattr(table, "SHAPE", (2, 3, 4, 4))
    monkeypatch.setattr(
        sys, "argv", ["device.py", "--device", device, "--minutes", "0.01", "--json", str(tmp_path / "it.json")]
    )
    with pytest.raises(SystemExit, match="0"):
        table.main()
    report = json.loads((tmp_path / "it.json").read_text())
    assert (
        report["whole"] is False
        and not report["faults"]
        and "stopped after 0.01 minutes, with what there is" in capsys.readouterr().out
    )
    assert report["rows"] and all(row["value"] > 0 for row in report["rows"])


def test_a_part_of_the_table_that_fails_costs_no_other(tmp_path, monkeypatch, capsys):
    from benchmarks import device as table

    def rows(name, fails=False):
        def section(bench):
            yield table.Row(name, "here", 1.0, "ms")
            assert not fails, "no such kernel"

        section.__name__ = name
        monkeypatch.setattr(table, name, section)

    rows("noise"), rows("overhead", fails=True), rows("pipeline"), rows("models")
    monkeypatch.setattr(sys, "argv", ["device.py", "--device", "cpu", "--json", str(tmp_path / "it.json")])
    with pytest.raises(SystemExit, match="1"):
        table.main()
    report = json.loads((tmp_path / "it.json").read_text())
    assert [row["what"] for row in report["rows"]] == ["noise", "overhead", "pipeline", "models"] and report[
        "whole"
    ] is False
    assert (
        len(report["faults"]) == 1
        and "no such kernel" in report["faults"][0]
        and "no such kernel" in capsys.readouterr().out
    )


@everywhere
def test_answers_a_second_are_measured_in_any_dtype(device, monkeypatch):
    from benchmarks import device as table

    bench = table.Bench(device, 1.0)
    monkeypatch.setattr(table.Bench, "seconds", lambda self, call: (call(), self.wait(), 0.5)[-1])
    for dtype in (None, "bf16", "fp16"):
        (row,) = table.answers(bench, "small", tuned(network().to(device), dtype=dtype), 3, str(dtype))
        assert row == ("small", f"batch 3, {dtype}", 6.0, "answers/s")
