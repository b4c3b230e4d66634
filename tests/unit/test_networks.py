"""The U-Nets against the reference: names, shapes, values in float32 and float64; and what training and speed options
keep."""

import copy
import hashlib
import json

import mpmath
import numpy as np
import pytest
import torch
from edm_data import FILLED, ROOT, assert_answers, cases, filled

from seeds.checkpoints import Config, build, fill
from seeds.networks import DhariwalUNet, Patched, SongUNet, blocks

LAYERS = json.loads(str(np.load(ROOT / "blocks.npz")["meta_json"]))
PUBLISHED = json.loads((ROOT / "manifest.json").read_text())["configs"]
SMALL = {
    "label_dim": 3,
    "augment_dim": 2,
    "model_channels": 8,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [8],
}
NCSNPP = {
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
}
NETWORKS = {
    "ddpmpp": lambda: SongUNet(16, 3, 3, **SMALL),
    "ncsnpp": lambda: SongUNet(16, 3, 3, **SMALL, **NCSNPP),
    "adm": lambda: DhariwalUNet(16, 3, 3, **{**SMALL, "model_channels": 32}),
    "patched": lambda: Patched(
        SongUNet(14, 4, 4, label_dim=3, augment_dim=2, model_channels=8, channel_mult=[1, 2], num_blocks=1), 2
    ),
}
SHAPE = {"ddpmpp": (3, 16, 16), "ncsnpp": (3, 16, 16), "adm": (3, 16, 16), "patched": (1, 28, 28)}


@pytest.fixture(params=NETWORKS, ids=str)
def network(request):
    """A small network in eval mode with no weight at 0, and inputs for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NETWORKS[request.param]().eval().requires_grad_(False)
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
        return net, (
            torch.randn(3, *SHAPE[request.param]),
            torch.tensor([-1.0, 0.2, 3.0]),
            torch.eye(3),
            torch.randn(3, 2),
        )


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer["tag"])
def test_layer(layer):
    tag = layer["tag"]
    module = getattr(blocks, layer["class_name"])(**layer["init_kwargs"]).eval()
    assert [[name, list(t.shape)] for name, t in module.state_dict().items()] == layer["state_dict"]
    with np.load(ROOT / "blocks.npz") as arrays, torch.no_grad():
        module.load_state_dict({name: torch.from_numpy(arrays[f"{tag}__w__{name}"]) for name, _ in layer["state_dict"]})
        inputs = [torch.from_numpy(arrays[f"{tag}__in{i}"]) for i in range(layer["n_inputs"])]
        np.testing.assert_allclose(module(*inputs), arrays[f"{tag}__y32"], rtol=0, atol=2e-5 if "emb" in tag else 1e-5)
        np.testing.assert_allclose(module(*(x.double() for x in inputs)), arrays[f"{tag}__y64"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", FILLED)
def test_wide_network(name):
    meta, runs = cases(name)
    denoiser = build(Config(meta["class_name"], meta["init_kwargs"]))
    fill(denoiser, filled(meta["state_dict"], denoiser.state_dict()))
    assert len(runs) == 5
    for case in runs:
        # a float32 frequency of the reference's embedding is an ulp off (its machine's power function): 2e-9 in the
        # answer
        assert_answers(denoiser, case, tolerance64=1e-8 if "ddpmpp" in name else 1e-10)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configuration(name):
    published = PUBLISHED[name]
    with torch.device("meta"):
        denoiser = build(Config(published["class_name"], published["init_kwargs"]))
    state = denoiser.state_dict()
    listing = "\n".join(f"{key}:{'x'.join(map(str, t.shape))}" for key, t in state.items())
    assert hashlib.sha256(listing.encode()).hexdigest() == published["sha256"]
    assert len(state) == published["n_state_dict_entries"]
    assert sum(p.numel() for p in denoiser.parameters()) == published["n_parameters"]
    assert sum(b.numel() for b in denoiser.buffers()) == published["n_buffer_elements"]


def test_frequencies_of_the_positional_embedding_are_rounded_once_and_follow_the_module():
    """A power of a maths library differs in its last bit between processors; the network would hear another level."""
    layer = blocks.PositionalEmbedding(64, endpoint=True)
    exact = [
        np.float32(float(mpmath.mpf(float(np.float32(1 / 10000))) ** mpmath.mpf(float(np.float32(i) / np.float32(31)))))
        for i in range(32)
    ]
    np.testing.assert_array_equal(layer.frequencies, exact)
    assert layer.half().frequencies.dtype == torch.float32 and not layer.state_dict()
    with torch.device("meta"):
        built = blocks.PositionalEmbedding(64, endpoint=True)
    assert torch.equal(built.to_empty(device="cpu").frequencies, layer.frequencies)
    assert torch.equal(copy.deepcopy(layer)(torch.ones(1)), layer(torch.ones(1)))


def test_fresh_network_starts_at_zero_with_its_blocks_as_skip_paths():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, block = NETWORKS["ddpmpp"]().eval(), blocks.UNetBlock(8, 8, 6, attention=True, num_heads=2)
        x, emb = torch.randn(2, 8, 4, 4), torch.randn(2, 6)
        assert torch.equal(block(x, emb), x)
        assert not net(torch.randn(1, 3, 16, 16), torch.zeros(1)).any()
        weight = blocks.Conv2d(64, 128, 3).weight
        assert weight.std().item() == pytest.approx((2 / (9 * (64 + 128))) ** 0.5, rel=0.02)


def test_every_parameter_learns(network):
    net, inputs = network
    net.train().requires_grad_(True)(*inputs).square().mean().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), name


def test_label_dropout_zeroes_whole_rows_in_training_only(network):
    net, (x, noise, labels, augment) = network
    inner = getattr(net, "network", net)
    none = net(x, noise, None, augment)
    assert torch.equal(none, net(x, noise, torch.zeros(3, 3), augment)) and not torch.equal(
        none, net(x, noise, labels, augment)
    )
    inner.label_dropout = 1.0
    assert not torch.equal(none, net(x, noise, labels, augment))
    for module in net.modules():
        if isinstance(module, blocks.UNetBlock):
            module.dropout = 0.0
    net.train()
    assert torch.equal(none, net(x, noise, labels, augment))


def test_channels_last_and_compilation_keep_the_values(network):
    net, inputs = network
    want = net(*inputs)
    one_graph = torch.compile(net, fullgraph=True, backend="eager")  # raises where Python breaks the graph
    assert torch.equal(one_graph(*inputs), want)
    last = net.to(memory_format=torch.channels_last)(
        inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:]
    )
    torch.testing.assert_close(last, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype,tolerance", [(torch.bfloat16, 0.06), (torch.float16, 0.01)])
def test_half_precision_image_path(network, dtype, tolerance):
    net, (x, *labels) = network
    seen = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: out.dtype}))
    want = net(x, *labels)
    seen.clear()
    got = net(x.to(dtype), *labels)
    assert got.dtype == dtype and (got.float() - want).square().mean().sqrt() < tolerance * want.std()
    assert {d for name, d in seen.items() if "map_" in name or name.endswith("affine")} == {torch.float32}
    assert {d for name, d in seen.items() if name.endswith(("conv0", "norm1", "qkv"))} == {dtype}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_norm_statistics_and_softmax_are_float32_inside_half(dtype, layout):
    generator = torch.Generator().manual_seed(0)
    # 2048 values of mean 100
    x = (100 + torch.randn(1, 8, 32, 32, generator=generator)).to(dtype).contiguous(memory_format=layout)
    norm = blocks.GroupNorm(8)
    torch.testing.assert_close(norm(x).float(), norm(x.float()), rtol=0, atol=0.02)
    block = blocks.UNetBlock(8, 8, 4, attention=True, num_heads=1)
    qkv = torch.randn(1, 24, 32, 32, generator=generator).to(dtype)
    qkv[:, 2::3] = 1  # v = 1, so that attention returns the sum of its 1024 weights
    torch.testing.assert_close(block._attend(qkv).float(), torch.ones(1, 8, 32, 32), rtol=0, atol=0.01)


def test_errors_name_the_argument():
    with pytest.raises(
        ValueError, match=r"`img_resolution` = 14 cannot be halved 2 times.*Use fewer levels or a multiple of 4"
    ):
        SongUNet(14, 3, 3, channel_mult=[1, 2, 2])
    with pytest.raises(ValueError, match=r"`img_resolution` = 9 cannot"):
        DhariwalUNet(9, 3, 3)
    with pytest.raises(
        ValueError, match="`encoder_type` is 'residal'; it must be one of 'standard', 'skip', 'residual'"
    ):
        SongUNet(16, 3, 3, encoder_type="residal")
    with pytest.raises(ValueError, match=r"33 channels .* cannot be normed in groups: take a multiple of 8"):
        blocks.GroupNorm(33)
    with pytest.raises(ValueError, match="`up` and `down` exclude each other"):
        blocks.Conv2d(3, 3, 3, up=True, down=True)
