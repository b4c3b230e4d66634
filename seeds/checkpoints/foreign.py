"""Weight files that are not ours: what they are, in words, and the way in. Headers, names and shapes are looked at;
nothing is run."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seeds.checkpoints.errors import CheckpointError, bare, brief, reason

ZIP, PICKLE = b"PK\3\4", b"\x80"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # 15 bytes
"""How torch.save began its files before torch 1.6: a number, pickled."""
OTHER = {b"GGUF": "a GGUF file", b"\x89HDF": "an HDF5 file", b"\x93NUM": "a NumPy array", b"TFL3": "a TFLite file"}
OUTPUTS = {"epsilon": "noise", "v_prediction": "v", "sample": "data", "flow_prediction": "flow"}
WAY_IN = (
    "Put the weights into their network in a program of your own, and hand it to seeds.wrap; a function that returns "
    "what wrap gives is `--model program:function` (docs/models.md)."
)
GUIDED = "a network of guided-diffusion"
_OF_GUIDED = {"time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"}
_KINDS = (  # what the weights are of, by what their names begin with
    ("model.diffusion_model.", "a Stable Diffusion network with its decoder, in the names of CompVis"),
    (
        "model.map_layer0.",
        "an EDM network without its constructor's arguments: for checkpoints.build and checkpoints.fill",
    ),
    ("down_blocks.", "a U-Net of diffusers"),
    ("transformer_blocks.", "a transformer of diffusers"),
    ("double_blocks.", "a transformer in the names of Flux"),
    ("input_blocks.", "a U-Net that names its parts as guided-diffusion does, or a part of one"),
    ("module.", "a network that was saved inside DataParallel"),
)
_MOST_OF_A_CONFIG = 1 << 16


def folder(path: Path) -> str:
    """What a folder is."""
    index, part = _json(path / "model_index.json"), ""
    for name in ("unet", "transformer", "."):
        if "_diffusers_version" in (found := _json(path / name / "config.json")):
            part, index = name, index or found
            break
    if not index:
        return f"{path} is a folder and no model; give a file, as those that `seeds convert` writes."
    kind = bare(str(index.get("_class_name", "")))
    output = OUTPUTS.get(str(_json(path / "scheduler" / "scheduler_config.json").get("prediction_type")), "noise")
    subfolder = "" if part in (".", "") else f", subfolder={part!r}"
    return (
        f"{path} is a folder of diffusers ({kind}), which is not read. In a program of your own: net = "
        f"diffusers.AutoModel.from_pretrained({str(path)!r}{subfolder}), then seeds.wrap(lambda x, t: net(x, "
        f"t).sample, {output!r}, schedule=...) with the schedule of its scheduler_config.json (docs/models.md)."
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_MOST_OF_A_CONFIG))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def what(path: Path, head: bytes) -> str | None:
    """What a file is that begins so, as "it is ...", if it is neither safetensors nor a pickle that may be of the EDM
    family."""
    if head.startswith(ZIP):
        try:
            return f"it is a state dict saved by torch.save, {described(archived(path))}"
        except CheckpointError as error:
            return str(error)
    if head.startswith(LEGACY):
        return (
            "it was written by torch.save before torch 1.6, as pickles that can run code; where it was made, save it "
            "anew"
        )
    kind = OTHER.get(head[:4])
    return kind and f"it is {kind}"


def described(tensors: Mapping[str, Any]) -> str:
    """What weights of these names are of."""
    if tensors.keys() >= _OF_GUIDED:
        return f"{len(tensors):,} tensors, {GUIDED}"
    kind = next(
        (words for start, words in _KINDS if any(name.startswith(start) for name in tensors)),
        "weights without their network",
    )
    names = ", ".join(brief(bare(name), 50) for name in list(tensors)[:2])
    return f"{len(tensors):,} tensors ({names}, ...), {kind}"


def archived(path: Path) -> dict[str, Tensor]:
    """The state dict in a zip archive of torch.save, read with weights_only=True and mapped, not copied; no more bytes
    than the file has.

    Raises: CheckpointError with a reason that continues "it cannot be read: ".
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"it is a damaged zip archive ({reason(error)})") from error
    names = [member.filename.partition("/")[2] for member in members]
    if "constants.pkl" in names:
        raise CheckpointError("it is a TorchScript program, which runs code")
    if "data.pkl" not in names:
        arrays = any(member.filename.endswith(".npy") for member in members)
        raise CheckpointError(
            "it is an archive of NumPy arrays" if arrays else "it is a zip archive, but not one of torch.save"
        )
    if (
        any(member.compress_type != zipfile.ZIP_STORED for member in members)
        or sum(member.file_size for member in members) > size
    ):
        raise CheckpointError("its members are compressed, as torch.save writes none")
    try:
        root = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # of a damaged or hostile archive torch raises anything
        asked = re.search(r"GLOBAL (\S{1,100})", str(error))
        why = f"it asks for {bare(asked[1])}" if asked else bare(reason(error))
        raise CheckpointError(f"it holds more than tensors, or is damaged ({why}), and is not run") from error
    return _checked(root, size)


def _checked(root: Any, size: int) -> dict[str, Tensor]:
    if not isinstance(root, dict) or not root or not all(isinstance(key, str) for key in root):
        raise CheckpointError("it holds no state dict")
    nested = [
        key
        for key, value in root.items()
        if isinstance(value, dict) and any(isinstance(it, Tensor) for it in value.values())
    ]
    if nested:
        raise CheckpointError(
            f"it holds the state of a training run, with weights under {', '.join(map(bare, nested[:5]))}: save one of "
            "them alone"
        )
    for name, tensor in root.items():
        if (
            not isinstance(tensor, Tensor)
            or tensor.layout != torch.strided
            or tensor.device.type != "cpu"
            or tensor.is_quantized
        ):
            raise CheckpointError(f"its {bare(name)} is no plain tensor")
    if sum(tensor.numel() * tensor.element_size() for tensor in root.values()) > size:
        raise CheckpointError("its tensors have more elements than the file has bytes for")
    return dict(root)
