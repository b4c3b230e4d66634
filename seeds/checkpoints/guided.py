"""OpenAI's guided-diffusion network of 64 x 64 images: its state dict as the weights of our `DhariwalUNet` under the
preconditioner iDDPM.

The network is told the whole step i of improved DDPM's cosine schedule and answers with eps, then with a variance,
which nothing here uses. The
names: `input_blocks`, `middle_block`, `output_blocks` hold residual blocks (norm and convolution `in_layers`,
`emb_layers`, `out_layers`,
`skip_connection`), an attention behind some, and a residual block that resamples between resolutions.

A file does not say its image size, its schedule, or how the channels of its attention are laid out: those of the
published network are taken.
Source: Dhariwal and Nichol 2021 (arXiv:2105.05233); Nichol and Dhariwal 2021 (arXiv:2102.09672).
"""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from seeds.checkpoints.building import Config
from seeds.checkpoints.errors import CheckpointError, bare
from seeds.preconditioners import iDDPM

HEAD = 64  # channels of an attention head
PUBLISHED = {
    "img_resolution": 64,
    "img_channels": 3,
    "label_dim": 1000,
    "model_type": "DhariwalUNet",
    "model_channels": 192,
    "channel_mult": [1, 2, 3, 4],
    "channel_mult_emb": 4,
    "num_blocks": 3,
    "attn_resolutions": [32, 16, 8],
}
"""Of 64x64_diffusion.pt, the class-conditional network of ImageNet-64."""
ASSUMED = (
    "cosine schedule of 1000 levels, eps and a learned variance, heads of 64 channels, q, k and v one after another "
    "(use_new_attention_order)"
)
_RESIDUAL = {
    "in_layers.0": "norm0",
    "in_layers.2": "conv0",
    "emb_layers.1": "affine",
    "out_layers.0": "norm1",
    "out_layers.3": "conv1",
    "skip_connection": "skip",
}
_ATTENTION = {"norm": "norm2", "qkv": "qkv", "proj_out": "proj"}


def read(tensors: Mapping[str, Tensor], image_size: int = 64) -> tuple[Config, dict[str, Tensor]]:
    """What our network is built from, and its weights.

    Args:
        tensors: the state dict.
        image_size: pixels a side of the images that it was trained on.
    Raises: CheckpointError with a reason that continues "it cannot be converted: ".
    """
    levels, blocks = _layout(tensors)
    kwargs = _arguments(tensors, levels, blocks, image_size)
    state, used = {"u": iDDPM().u}, set()
    for theirs, ours in _modules(tensors, levels, blocks, image_size):
        for part in ("weight", "bias"):
            if f"{theirs}.{part}" in tensors:
                used.add(f"{theirs}.{part}")
                state[f"model.{ours}.{part}"] = _turned(ours, tensors[f"{theirs}.{part}"])
    left = [name for name in tensors if name not in used]
    if left:
        raise CheckpointError(f"its {bare(left[0])} is none of such a network's")
    for key in [key for key in state if re.search(r"_(up|down)\.conv0\.weight$", key)]:
        for part in ("conv0", "skip"):
            state[f"{key.removesuffix('conv0.weight')}{part}.resample_filter"] = torch.full((1, 1, 2, 2), 0.25)
    return Config("iDDPMPrecond", kwargs), state


def _layout(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Resolutions and residual blocks at each. A block that doubles the resolution stands last in the output block that
    ends a level."""
    counts = [
        len({name.split(".")[1] for name in tensors if name.startswith(f"{side}.")})
        for side in ("input_blocks", "output_blocks")
    ]
    ups = [i for i in range(counts[1]) if any(f"output_blocks.{i}.{k}.in_layers.2.weight" in tensors for k in (1, 2))]
    levels = len(ups) + 1
    blocks = counts[1] // levels - 1
    if levels > 4 and blocks == 2:
        raise CheckpointError(
            "it is one of the networks of 128 pixels and more, of another schedule and another layout of attention, "
            "which are not converted"
        )
    if (
        counts[0] != counts[1]
        or counts[1] % levels
        or blocks < 1
        or ups != [(blocks + 1) * (i + 1) - 1 for i in range(levels - 1)]
        or levels == 1
    ):
        raise CheckpointError("its blocks are not those of a network with resblock_updown")
    return levels, blocks


def _arguments(tensors: Mapping[str, Tensor], levels: int, blocks: int, image_size: int) -> dict:
    emb, width = _shape(tensors, "time_embed.0.weight", 2)
    channels = _shape(tensors, "input_blocks.0.0.weight", 4)[1]
    answers = _shape(tensors, "out.2.weight", 4)[0]
    if answers != 2 * channels:
        raise CheckpointError(
            f"it takes {channels} channels and answers with {answers}; only networks of a learned variance "
            "(learn_sigma) are read"
        )
    firsts = [1 + (blocks + 1) * level for level in range(levels)]
    wide = [_shape(tensors, f"input_blocks.{i}.0.out_layers.3.weight", 4)[0] for i in firsts]
    if any(channels % width or channels % HEAD for channels in wide) or emb % width or min(wide) < 128:
        raise CheckpointError(
            f"its levels have {wide} channels; only multiples of its {width} and of {HEAD} are read, and 128 at least"
        )
    if _shape(tensors, "input_blocks.1.0.emb_layers.1.weight", 2)[0] != 2 * wide[0]:
        raise CheckpointError(
            "its blocks add the embedding; only those that scale and shift by it (use_scale_shift_norm) are read"
        )
    attended = [image_size >> level for level, i in enumerate(firsts) if f"input_blocks.{i}.1.qkv.weight" in tensors]
    return {
        "img_resolution": image_size,
        "img_channels": channels,
        "label_dim": _shape(tensors, "label_emb.weight", 2)[0] if "label_emb.weight" in tensors else 0,
        "model_type": "DhariwalUNet",
        "model_channels": width,
        "channel_mult": [channels // width for channels in wide],
        "channel_mult_emb": emb // width,
        "num_blocks": blocks,
        "attn_resolutions": attended,
    }


def _shape(tensors: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != dimensions or 0 in tensors[name].shape:
        raise CheckpointError(f"its {name} is missing, or no tensor of {dimensions} dimensions")
    return tuple(tensors[name].shape)


def _modules(tensors: Mapping[str, Tensor], levels: int, blocks: int, image_size: int) -> Iterator[tuple[str, str]]:
    """Every module with weights: its name there, and here."""
    yield from (("time_embed.0", "map_layer0"), ("time_embed.2", "map_layer1"), ("label_emb", "map_label"))
    yield from (("out.0", "out_norm"), ("out.2", "out_conv"))
    sizes = [f"{image_size >> level}x{image_size >> level}" for level in range(levels)]
    index = 0
    for level, size in enumerate(sizes):
        if level == 0:
            yield "input_blocks.0.0", f"enc.{size}_conv"
        else:
            yield from _block(f"input_blocks.{index}", f"enc.{size}_down")
        for i in range(blocks):
            yield from _block(f"input_blocks.{index + 1 + i}", f"enc.{size}_block{i}")
        index += blocks + 1
    lowest = sizes[-1]
    yield from _block("middle_block", f"dec.{lowest}_in0")
    yield from _parts("middle_block.2", f"dec.{lowest}_in1", _RESIDUAL)
    index = 0
    for level, size in reversed(list(enumerate(sizes))):
        if level < levels - 1:
            last = 2 if f"output_blocks.{index - 1}.2.in_layers.2.weight" in tensors else 1
            yield from _parts(f"output_blocks.{index - 1}.{last}", f"dec.{size}_up", _RESIDUAL)
        for i in range(blocks + 1):
            yield from _block(f"output_blocks.{index + i}", f"dec.{size}_block{i}")
        index += blocks + 1


def _block(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """A residual block, and the attention behind it if there is one."""
    yield from _parts(f"{theirs}.0", ours, _RESIDUAL)
    yield from _parts(f"{theirs}.1", ours, _ATTENTION)


def _parts(theirs: str, ours: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{theirs}.{there}", f"{ours}.{here}") for there, here in names.items())


def _turned(ours: str, tensor: Tensor) -> Tensor:
    """Labels are a table of rows there. Attention is of one dimension there, its channels ordered (role, head,
    channel), here (head, channel, role)."""
    if ours == "map_label":
        return tensor.T.contiguous()
    if ours.endswith((".qkv", ".proj")) and tensor.ndim == 3:
        tensor = tensor.unsqueeze(-1)
    if ours.endswith(".qkv") and tensor.shape[0] % (3 * HEAD) == 0:
        return (
            tensor.unflatten(0, (3, -1, HEAD)).permute(1, 2, 0, *range(3, tensor.ndim + 2)).flatten(0, 2).contiguous()
        )
    return tensor.contiguous()
