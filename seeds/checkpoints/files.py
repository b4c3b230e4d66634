"""Weight files: safetensors in and out, conversion of EDM pickles, and the models that come with the package."""

import dataclasses
import hashlib
import importlib
import importlib.resources
import json
import math
import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import OpenerDirector

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from seeds import schedules
from seeds.checkpoints import edm
from seeds.checkpoints.errors import CheckpointError
from seeds.checkpoints.fetch import fetch
from seeds.checkpoints.models import Config, build, fill
from seeds.preconditioners import Preconditioned

MAX_BYTES = 4 << 30
SCHEDULES = {cls.__name__: cls for cls in (schedules.VP, schedules.VE, schedules.EDM, schedules.Cosine, schedules.Flow, schedules.Discrete)}
KINDS = {  # metadata "kind": (module, builder of a model from (tensors, metadata))
    "network": ("seeds.checkpoints.files", "network_from_tensors"),
    "features": ("seeds.networks.classifier", "ConvClassifier.from_tensors"),
    "mixture": ("seeds.exact", "GaussianMixture.from_tensors"),
}


def bundled() -> dict[str, Path]:
    """The models that come with the package: name -> file."""
    data = Path(str(importlib.resources.files("seeds") / "data"))
    return {path.stem.replace("_", "-"): path for path in sorted(data.glob("*.safetensors"))}


def load(source: str | os.PathLike[str]) -> Any:
    """A model from a safetensors file written by `save` or `convert`, or a bundled one by its name.

    Returns: a denoiser D(x, at, labels=None), on the CPU, frozen, with float32 weights (or, for another kind of file, what that kind is).
    Raises: CheckpointError if there is no such file, if it is no such file, or if it is a pickle; the message then has the command to type.
    """
    return _load(_locate(source))[0]


def _load(path: Path) -> tuple[Any, dict[str, Tensor], dict[str, str]]:
    """The model of a file, its tensors and its metadata."""
    tensors, metadata = _open(path)
    kind = metadata.get("kind", "")
    if kind not in KINDS:
        raise CheckpointError(
            f"{path} is a safetensors file, but not one of seeds: its metadata have no known kind. Write it with `checkpoints.save`."
        )
    module, builder = KINDS[kind]
    try:
        return operator.attrgetter(builder)(importlib.import_module(module))(tensors, metadata), tensors, metadata
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error


def save(
    denoiser: Preconditioned, path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32, about: Mapping[str, Any] | None = None
) -> None:
    """Writes a denoiser made by `build` as safetensors, atomically; the same weights give the same bytes.

    Args:
        path: ends in .safetensors.
        dtype: of the stored parameters; buffers stay float32.
        about: more facts for the metadata, JSON-able: source, licence, how it was made.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} does not end in .safetensors; name the output so.")
    config: Config | None = getattr(denoiser, "config", None)
    if config is None:
        raise CheckpointError("this denoiser does not know its constructor's arguments; make it with `checkpoints.build`.")
    parameters = {name for name, _ in denoiser.named_parameters()}
    state = {name: t.detach().to("cpu", dtype if name in parameters else torch.float32) for name, t in denoiser.state_dict().items()}
    state = {name: t.contiguous() for name, t in state.items()}
    metadata = {
        "format": "1",
        "kind": "network",
        "name": denoiser.name,
        "class_name": config.class_name,
        "kwargs": _json(config.kwargs),
        "attributes": _json(config.attributes),
        "schedule": _json(_schedule_facts(denoiser.schedule)),
        "weights_sha256": hash_tensors(state),
        "about": _json(dict(about or {})),
    }
    _write(path, _sorted_header(to_safetensors(state, metadata)))


def network_from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Preconditioned:
    """The denoiser that `save` wrote."""
    config = Config(metadata["class_name"], _unjson(metadata["kwargs"]), _unjson(metadata["attributes"]))
    facts = _unjson(metadata["schedule"])
    schedule = SCHEDULES[facts.pop("name")](**facts)
    return _assemble(config, tensors, schedule=schedule, name=metadata["name"])


def _assemble(config: Config, tensors: Mapping[str, Tensor], **options: Any) -> Preconditioned:
    with torch.device("meta"):
        denoiser = build(config, u=tensors.get("u"), **options)
    return fill(denoiser, tensors)


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    max_bytes: int = MAX_BYTES,
    progress: bool = True,
    opener: OpenerDirector | None = None,
) -> dict[str, Any]:
    """Converts an EDM-family checkpoint (`*.pkl`) to safetensors. The pickle is read as data: nothing in it runs.

    Args:
        source: a file, or an https address, which is fetched into a cache ($SEEDS_CACHE, default ~/.cache/seeds).
        out: the safetensors file to write; replaced if it exists, and only when all is well.
        sha256: of the source, 64 hex digits; checked before the file is read.
        max_bytes: a larger source is refused.
        progress: show a bar while fetching.
        opener: what fetches; by default one that speaks https only.

    Returns: the facts of `info(out)`. Raises: CheckpointError with one sentence.
    """
    if Path(out).suffix != ".safetensors":
        raise CheckpointError(f"{out} does not end in .safetensors; name the output so.")
    is_url = isinstance(source, str) and "://" in source
    path = fetch(str(source), max_bytes, progress=progress, opener=opener) if is_url else Path(source)
    data = _read_bytes(path, max_bytes)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and sha256.lower() != found:
        again = f" Delete {path} to fetch it again." if is_url else ""
        raise CheckpointError(f"{source} has SHA-256 {found}, not {sha256}; it is not the file you want.{again}")
    try:
        content = edm.read(data)
        denoiser = _assemble(Config(content.class_name, content.kwargs, content.attributes), content.state, name=Path(out).stem)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be converted: {error}.") from None
    save(denoiser, out, about={"source": str(source) if is_url else path.name, "source_sha256": found, "source_bytes": len(data)})
    return info(out)


def info(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Facts of a weight file, for people: class, arguments, parameters, noise levels, hashes. Raises CheckpointError as `load`."""
    path = _locate(source)
    model, tensors, metadata = _load(path)
    facts: dict[str, Any] = {"file": str(path), "kind": metadata["kind"], "name": metadata.get("name", path.stem)}
    if isinstance(model, Preconditioned):
        facts |= {"class": metadata["class_name"], "arguments": _unjson(metadata["kwargs"])}
        facts |= {"noise levels (nsr)": model.nsr_range, "schedule": repr(model.schedule)}
    parameters = (
        sum(p.numel() for p in model.parameters()) if isinstance(model, torch.nn.Module) else sum(t.numel() for t in tensors.values())
    )
    facts |= {"parameters": parameters, "image": getattr(model, "shape", None), "classes": getattr(model, "classes", None)}
    facts |= {"about": _unjson(metadata.get("about", "{}")), "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    if "weights_sha256" in metadata:
        agrees = metadata["weights_sha256"] == hash_tensors(tensors)
        facts["weights_sha256"] = metadata["weights_sha256"] + ("" if agrees else " (WRONG: the weights have changed since)")
    return facts


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _locate(source: str | os.PathLike[str]) -> Path:
    path, known = Path(source), bundled()
    if str(source) in known:
        return known[str(source)]
    if not path.is_file():
        raise CheckpointError(f"There is no file {path} and no bundled model of that name. Bundled: {', '.join(known) or 'none'}.")
    with path.open("rb") as file:
        head = file.read(9)
    is_pickle = path.suffix == ".pkl" or (head[:1] == b"\x80" and head[8:] != b"{")  # a safetensors header's length may end in 0x80
    if is_pickle:
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is opened, so it is not. Convert it once, safely: "
            f"seeds convert {path} {path.with_suffix('.safetensors')}"
        )
    return path


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise CheckpointError(
                f"{path} has {size:,} bytes, more than the limit of {max_bytes:,}. Raise it with --max-size if you expect that."
            )
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def _sorted_header(data: bytes) -> bytes:
    """The same file with its header in one fixed order; the library's order of metadata differs from run to run."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _schedule_facts(schedule: Any) -> dict[str, Any]:
    if type(schedule).__name__ not in SCHEDULES:
        raise CheckpointError(f"the schedule {schedule!r} cannot be stored; storable are {', '.join(SCHEDULES)}")
    return {"name": type(schedule).__name__} | {f.name: getattr(schedule, f.name) for f in dataclasses.fields(schedule) if f.init}


def _json(value: Any) -> str:
    def plain(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {key: plain(inner) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [plain(inner) for inner in item]
        return str(item) if isinstance(item, float) and math.isinf(item) else item

    return json.dumps(plain(value), sort_keys=True)


def _unjson(text: str) -> Any:
    value = json.loads(text)
    return {key: math.inf if item == "inf" else item for key, item in value.items()}
