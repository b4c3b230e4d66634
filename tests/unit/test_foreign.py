"""Weight files of others: guided-diffusion's network against a forward pass of its own, and what all the rest is
named."""

import json
import math
import os
import re
import shlex
import warnings
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from safetensors.torch import save_file

import seeds
from seeds import checkpoints
from seeds.checkpoints import CheckpointError, CheckpointWarning, convert, guided, info, load
from seeds.checkpoints.building import build
from seeds.cli.convert import convert as convert_command
from seeds.plans import Point
from seeds.preconditioners import iDDPM

WIDTH, MULT, BLOCKS, SIZE, CLASSES = 128, (1, 2), 1, 16, 5
ATTENDED = (8,)  # resolutions


class Reference:
    """guided-diffusion's U-Net in plain torch, by its names: weights at random, and the forward pass, new attention
    order, heads of 64 channels."""

    def __init__(self, seed=0, classes=CLASSES):
        self.generator, self.state, self.classes = torch.Generator().manual_seed(seed), {}, classes
        emb = 4 * WIDTH
        self.linear("time_embed.0", WIDTH, emb), self.linear("time_embed.2", emb, emb)
        if classes:
            self.weight("label_emb.weight", classes, emb)
        self.weight("input_blocks.0.0.weight", WIDTH, 3, 3, 3), self.weight("input_blocks.0.0.bias", WIDTH)
        self.into, self.outof, here, i, skips = [], [], WIDTH, 1, [WIDTH]
        for level, mult in enumerate(MULT):
            for _ in range(BLOCKS):
                self.into.append(
                    [
                        self.residual(f"input_blocks.{i}.0", here, here := WIDTH * mult),
                        *self.attention(f"input_blocks.{i}.1", here, level),
                    ]
                )
                skips.append(here)
                i += 1
            if level < len(MULT) - 1:
                self.into.append([self.residual(f"input_blocks.{i}.0", here, here, "down")])
                skips.append(here)
                i += 1
        self.middle = [
            self.residual("middle_block.0", here, here),
            *self.attention("middle_block.1", here),
            self.residual("middle_block.2", here, here),
        ]
        i = 0
        for level, mult in reversed(list(enumerate(MULT))):
            for block in range(BLOCKS + 1):
                parts = [
                    self.residual(f"output_blocks.{i}.0", here + skips.pop(), here := WIDTH * mult),
                    *self.attention(f"output_blocks.{i}.1", here, level),
                ]
                if level and block == BLOCKS:
                    parts.append(self.residual(f"output_blocks.{i}.{len(parts)}", here, here, "up"))
                self.outof.append(parts)
                i += 1
        (
            self.weight("out.0.weight", here),
            self.weight("out.0.bias", here),
            self.weight("out.2.weight", 6, here, 3, 3),
            self.weight("out.2.bias", 6),
        )

    def weight(self, name, *shape):
        scale = 0.1 if len(shape) == 1 else 1 / math.sqrt(math.prod(shape[1:]))
        self.state[name] = scale * torch.randn(shape, generator=self.generator) + (
            1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
        )

    def linear(self, name, into, outof):
        self.weight(f"{name}.weight", outof, into), self.weight(f"{name}.bias", outof)

    def residual(self, name, into, outof, turn=None):
        self.weight(f"{name}.in_layers.0.weight", into), self.weight(f"{name}.in_layers.0.bias", into)
        self.weight(f"{name}.in_layers.2.weight", outof, into, 3, 3), self.weight(f"{name}.in_layers.2.bias", outof)
        self.linear(f"{name}.emb_layers.1", 4 * WIDTH, 2 * outof)
        self.weight(f"{name}.out_layers.0.weight", outof), self.weight(f"{name}.out_layers.0.bias", outof)
        self.weight(f"{name}.out_layers.3.weight", outof, outof, 3, 3), self.weight(f"{name}.out_layers.3.bias", outof)
        if into != outof:
            (
                self.weight(f"{name}.skip_connection.weight", outof, into, 1, 1),
                self.weight(f"{name}.skip_connection.bias", outof),
            )
        return lambda x, emb: self.residue(name, x, emb, turn)

    def attention(self, name, channels, level=None):
        if level is not None and SIZE >> level not in ATTENDED:
            return []
        self.weight(f"{name}.norm.weight", channels), self.weight(f"{name}.norm.bias", channels)
        self.weight(f"{name}.qkv.weight", 3 * channels, channels, 1), self.weight(f"{name}.qkv.bias", 3 * channels)
        self.weight(f"{name}.proj_out.weight", channels, channels, 1), self.weight(f"{name}.proj_out.bias", channels)
        return [lambda x, emb: self.attend(name, x)]

    def w(self, name):
        return self.state[name].double()

    def norm(self, name, x):
        return F.group_norm(x, 32, self.w(f"{name}.weight"), self.w(f"{name}.bias"), 1e-5)

    def conv(self, name, x):
        weight = self.w(f"{name}.weight")
        return F.conv2d(x, weight, self.w(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def residue(self, name, x, emb, turn):
        h = F.silu(self.norm(f"{name}.in_layers.0", x))
        if turn == "down":
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        elif turn == "up":
            h, x = (F.interpolate(it, scale_factor=2, mode="nearest") for it in (h, x))
        h = self.conv(f"{name}.in_layers.2", h)
        told = F.linear(F.silu(emb), self.w(f"{name}.emb_layers.1.weight"), self.w(f"{name}.emb_layers.1.bias"))[
            :, :, None, None
        ]
        scale, shift = told.chunk(2, 1)
        h = self.conv(f"{name}.out_layers.3", F.silu(self.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift))
        return h + (self.conv(f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in self.state else x)

    def attend(self, name, x):
        b, c = x.shape[:2]
        h = self.norm(f"{name}.norm", x).flatten(2)
        q, k, v = F.conv1d(h, self.w(f"{name}.qkv.weight"), self.w(f"{name}.qkv.bias")).chunk(3, 1)
        q, k, v = (it.reshape(b * c // 64, 64, -1) for it in (q, k, v))
        h = torch.softmax(torch.einsum("bct,bcs->bts", q, k) / 8, -1)
        h = torch.einsum("bts,bcs->bct", h, v).reshape(b, c, -1)
        return x + F.conv1d(h, self.w(f"{name}.proj_out.weight"), self.w(f"{name}.proj_out.bias")).reshape(x.shape)

    def __call__(self, x, step, labels=None):
        """(B, 6, H, W): eps and the variance, for the scaled image x and the step of the schedule."""
        frequency = torch.exp(-math.log(10000) * torch.arange(WIDTH // 2, dtype=torch.float64) / (WIDTH // 2))
        phase = step.double()[:, None] * frequency
        emb = torch.cat([phase.cos(), phase.sin()], 1)
        emb = F.silu(F.linear(emb, self.w("time_embed.0.weight"), self.w("time_embed.0.bias")))
        emb = F.linear(emb, self.w("time_embed.2.weight"), self.w("time_embed.2.bias"))
        if labels is not None:
            emb = emb + self.w("label_emb.weight")[labels]
        h = self.conv("input_blocks.0.0", x)
        kept = [h]
        for parts in self.into:
            for part in parts:
                h = part(h, emb)
            kept.append(h)
        for part in self.middle:
            h = part(h, emb)
        for parts in self.outof:
            h = torch.cat([h, kept.pop()], 1)
            for part in parts:
                h = part(h, emb)
        return self.conv("out.2", F.silu(self.norm("out.0", h)))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small random network of guided-diffusion, its file, and what it was converted to."""
    folder, reference = tmp_path_factory.mktemp("guided"), Reference()
    torch.save(reference.state, folder / "small.pt")
    with pytest.warns(CheckpointWarning, match="It is not OpenAI's network of 64 x 64"):
        facts = convert(folder / "small.pt", folder / "small.safetensors", image_size=SIZE)
    return reference, folder, facts


def cosine() -> np.ndarray:
    """alphas_cumprod of improved DDPM's cosine schedule of 1000 steps, with betas at most 0.999, written out in
    float64."""
    t = np.arange(1001) / 1000
    level = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - level[1:] / level[:-1], 0.999))


def test_the_converted_network_answers_as_its_own_forward_pass(small):
    reference, folder, facts = small
    denoiser = load(folder / "small.safetensors")
    assert (denoiser.shape, denoiser.classes, facts["parameters"]) == (
        (3, SIZE, SIZE),
        CLASSES,
        sum(t.numel() for t in reference.state.values()),
    )
    denoiser.dtype = torch.float64
    data, eps = torch.randn(2, 2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels, levels = torch.tensor([4, 1]), cosine()
    for step in (0, 1, 250, 700, 998):
        alpha, sigma = math.sqrt(levels[step]), math.sqrt(1 - levels[step])
        x = alpha * data + sigma * eps
        predicted = reference(x, torch.tensor([step, step]), labels)[:, :3]
        wanted = (x - sigma * predicted) / alpha
        found = denoiser(x, Point(0.0, alpha, sigma), labels)
        most = 1e-9 if step < 2 else 1e-5  # the frequencies of the step's embedding are float32 there and here
        assert ((found - wanted).abs() / (1 + sigma / alpha)).max() < most, step


def test_levels_between_steps_are_told_the_nearest_and_runs_end_at_steps(small):
    denoiser, steps = load(small[1] / "small.safetensors"), np.sqrt(1 / cosine() - 1)
    plan = seeds.plan_for(denoiser, "seeds-2", steps=4)
    asked = np.array([row.at.nsr for row in plan.rows])
    assert np.abs(asked[:, None] / steps - 1).min(1).max() < 1e-3
    assert all(
        torch.isfinite(denoiser(torch.zeros(1, *denoiser.shape), row.at, torch.tensor([2]))).all() for row in plan.rows
    )


def test_the_design_that_is_read_off_the_weights(small):
    _, folder, facts = small
    wanted = {
        "img_resolution": SIZE,
        "img_channels": 3,
        "label_dim": CLASSES,
        "model_channels": WIDTH,
        "channel_mult": [1, 2],
        "channel_mult_emb": 4,
    }
    assert (
        facts["arguments"] == wanted | {"model_type": "DhariwalUNet", "num_blocks": 1, "attn_resolutions": [8]}
        and facts["class"] == "iDDPMPrecond"
    )
    assert (
        "cosine" in facts["about"]["assumed"]
        and "--image-size" in facts["about"]["warning"]
        and info(folder / "small.safetensors") == facts
    )
    out = folder / "strict.safetensors"
    with pytest.raises(CheckpointError, match="is not converted, as `strict`"):
        convert(folder / "small.pt", out, image_size=SIZE, strict=True)
    assert not out.exists()
    arguments = [str(folder / "small.pt"), str(out), "--image-size", str(SIZE)]
    result = CliRunner().invoke(convert_command, arguments)
    assert result.exit_code == 0 and "Warning: It is not OpenAI's network" in result.output
    without = Reference(classes=0)
    assert guided.read(without.state, SIZE)[0].kwargs["label_dim"] == 0


def test_the_published_network_is_known_by_its_names_and_shapes():
    """64x64_diffusion.pt, rebuilt by its names from our network of the published arguments: 295,904,454 parameters, no
    warning."""
    with torch.device("meta"):
        ours = build(checkpoints.Config("iDDPMPrecond", dict(guided.PUBLISHED)), u=iDDPM().u).state_dict()
        theirs = {}
        for there, here in guided._modules(
            {
                "output_blocks.3.2.in_layers.2.weight": 0,
                "output_blocks.7.2.in_layers.2.weight": 0,
                "output_blocks.11.2.in_layers.2.weight": 0,
            },
            4,
            3,
            64,
        ):
            for part in ("weight", "bias"):
                if (tensor := ours.get(f"model.{here}.{part}")) is not None:
                    tensor = tensor.squeeze(-1) if there.endswith(("qkv", "proj_out")) and part == "weight" else tensor
                    theirs[f"{there}.{part}"] = tensor.T if here == "map_label" else tensor
    config, state = guided.read(theirs)
    assert config.kwargs == guided.PUBLISHED and {name: t.shape for name, t in state.items()} == {
        name: t.shape for name, t in ours.items()
    }
    assert sum(t.numel() for t in theirs.values()) == 295_904_454 and len(theirs) == len(ours) - 1 - 12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("middle_block.2.out_layers.3.bias"), "the weight 'model.dec.8x8_in1.conv1.bias' is missing"),
        (lambda s: s.update({"extra": torch.zeros(1)}), "its extra is none of such a network's"),
        (
            lambda s: s.update({"out.2.weight": torch.zeros(3, 128, 3, 3)}),
            r"it takes 3 channels and answers with 3; only .* \(learn_sigma\)",
        ),
        (
            lambda s: s.update({"input_blocks.1.0.emb_layers.1.weight": torch.zeros(128, 512)}),
            r"\(use_scale_shift_norm\) are read",
        ),
        (
            lambda s: [s.pop(name) for name in list(s) if name.startswith("output_blocks.1.2.")],
            "are not those of a network with resblock_updown",
        ),
        (
            lambda s: s.update({"input_blocks.0.0.weight": torch.zeros(0)}),
            "its input_blocks.0.0.weight is missing, or no tensor of 4 dimensions",
        ),
        (
            lambda s: s.update({"time_embed.0.weight": torch.zeros(512, 96)}),
            r"levels have \[128, 256\] channels; only multiples of its 96 and of 64",
        ),
    ],
)
def test_another_network_of_such_names_is_refused_with_the_reason(small, tmp_path, change, words):
    state = dict(small[0].state)
    change(state)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=rf"other\.pt cannot be converted: .*{words}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convert(tmp_path / "other.pt", tmp_path / "out.safetensors", image_size=SIZE)
    assert not (tmp_path / "out.safetensors").exists()


class Net(torch.nn.Module):
    """A network of somebody's own, which torch.save pickles whole."""


def written(folder):
    """Files of others, each with words that say what it is and words of the way in."""
    torch.save({"conv_in.weight": torch.zeros(2), "down_blocks.0.bias": torch.zeros(2)}, folder / "diffusers.pth")
    torch.save({"net": {"w": torch.zeros(2)}, "optimizer_state": {"step": 3}}, folder / "training.pt")
    torch.save(Net(), folder / "whole.pt")
    torch.save({"w": torch.zeros(2)}, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save([1, 2], folder / "list.pt")
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, folder / "bomb.pt")
    np.savez(folder / "arrays.npz", a=np.zeros(2))
    save_file(
        {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2)}, folder / "sd.safetensors", {"format": "pt"}
    )
    save_file({"double_blocks.0.w": torch.zeros(2), "b": torch.zeros(1)}, folder / "flux.safetensors")
    with zipfile.ZipFile(folder / "pressed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\0" * 100_000)
    (folder / "cut.pt").write_bytes((folder / "diffusers.pth").read_bytes()[:300])
    (folder / "weights.gguf").write_bytes(b"GGUF" + bytes(20))
    (folder / "pipeline" / "unet").mkdir(parents=True), (folder / "pipeline" / "scheduler").mkdir()
    (folder / "pipeline" / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.31"})
    )
    (folder / "pipeline" / "unet" / "config.json").write_text(
        json.dumps({"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.31"})
    )
    (folder / "pipeline" / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"prediction_type": "v_prediction"})
    )
    (folder / "one").mkdir()
    (folder / "one" / "config.json").write_text(
        json.dumps({"_class_name": "UNet2DModel", "_diffusers_version": "0.31"})
    )
    (folder / "empty").mkdir()
    return {
        "diffusers.pth": (
            "it is a state dict saved by torch.save, 2 tensors (conv_in.weight, down_blocks.0.bias, ...), a U-Net of "
            "diffusers",
            "seeds.wrap",
        ),
        "training.pt": (
            "it holds the state of a training run, with weights under net: save one of them alone",
            "seeds.wrap",
        ),
        "whole.pt": (
            "it holds more than tensors, or is damaged (it asks for test_foreign.Net), and is not run",
            "seeds.wrap",
        ),
        "legacy.pth": ("written by torch.save before torch 1.6, as pickles that can run code", "seeds.wrap"),
        "list.pt": ("it holds no state dict", "seeds.wrap"),
        "bomb.pt": ("its tensors have more elements than the file has bytes for", "seeds.wrap"),
        "arrays.npz": ("it is an archive of NumPy arrays", "seeds.wrap"),
        "pressed.pt": ("its members are compressed, as torch.save writes none", "seeds.wrap"),
        "cut.pt": ("it is a damaged zip archive", "seeds.wrap"),
        "sd.safetensors": ("no known kind. It holds 1 tensors (model.diffusion_model", "seeds.wrap"),
        "flux.safetensors": ("a transformer in the names of Flux", "seeds.wrap"),
        "weights.gguf": ("it is a GGUF file", "seeds.wrap"),
        "pipeline": (
            "is a folder of diffusers (StableDiffusionPipeline), which is not read",
            "subfolder='unet'), then seeds.wrap(lambda x, t: net(x, t).sample, 'v', ",
        ),
        "one": ("is a folder of diffusers (UNet2DModel)", "net(x, t).sample, 'noise', schedule=...)"),
        "empty": ("is a folder and no model", "seeds convert"),
    }


def test_files_of_others_are_named_for_what_they_are_with_the_way_in(tmp_path):
    for name, (what, way) in written(tmp_path).items():
        with pytest.raises(CheckpointError) as caught:
            load(tmp_path / name)
        said = str(caught.value)
        assert said.startswith(str(tmp_path / name)) and what in said and way in said, said
        assert "\n" not in said and said.endswith(".") and len(said) < 2 * len(str(tmp_path)) + 620, said


def test_convert_says_the_same_of_files_of_others(tmp_path):
    for name, (what, _) in written(tmp_path).items():
        if name.endswith(".safetensors"):
            what = "it is a safetensors file already"
        with pytest.raises(CheckpointError) as caught:
            convert(tmp_path / name, tmp_path / "out.safetensors")
        said = str(caught.value)
        assert said.startswith(str(tmp_path / name)) and what in said, said
    assert not (tmp_path / "out.safetensors").exists()


def test_a_guided_file_is_refused_with_the_command_that_converts_it(small):
    _, folder, _ = small
    with pytest.raises(
        CheckpointError,
        match=r"is not read: it is a state dict saved by torch\.save, [0-9]+ tensors, a network of guided-diffusion",
    ) as caught:
        load(folder / "small.pt")
    assert shlex.split(str(caught.value).rpartition("once: ")[2]) == [
        "seeds",
        "convert",
        str(folder / "small.pt"),
        str(folder / "small.safetensors"),
    ]


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (load, lambda path: convert(path, tmp_path / "out.safetensors")):
        with pytest.raises(CheckpointError, match=rf"^{re.escape(str(tmp_path))}/pipe is no file, but a pipe"):
            read(tmp_path / "pipe")
