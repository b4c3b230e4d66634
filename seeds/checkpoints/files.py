"""Weight files: safetensors in and out, conversion of EDM pickles, and the models that come with the package."""

import dataclasses
import importlib
import importlib.resources
import json
import math
import operator
import os
import shlex
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import OpenerDirector

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seeds import schedules
from seeds.checkpoints import edm, foreign, guided
from seeds.checkpoints.building import Config, build, build_classifier, by_name, fill
from seeds.checkpoints.errors import CheckpointError, CheckpointWarning, reason
from seeds.checkpoints.fetch import fetch
from seeds.names import lookup
from seeds.networks.classifier import ConvClassifier
from seeds.preconditioners import Preconditioned
from seeds.storage import hash_file, hash_tensors, pack, replacing

MAX_BYTES = 4 << 30
MAX_NAME = 200  # characters of a model's name, which messages quote
KINDS = {  # metadata "kind": (module, builder of a model from (tensors, metadata))
    "network": ("seeds.checkpoints.files", "network_from_tensors"),
    "mixture": ("seeds.exact", "GaussianMixture.from_tensors"),
    "features": ("seeds.checkpoints.files", "classifier_from_tensors"),
}


def bundled() -> dict[str, Path]:
    """The models that come with the package: name -> file. Any safetensors file of a known kind in `seeds/data` is
    one."""
    return {path.stem.replace("_", "-"): path for path in sorted(data_folder().glob("*.safetensors"))}


def data_folder() -> Path:
    """Where the bundled models are."""
    return Path(str(importlib.resources.files("seeds") / "data"))


def load(source: str | os.PathLike[str]) -> Any:
    """A model from a safetensors file written by `save` or `convert`, or a bundled one by its name.

    Returns: a denoiser D(x, at, labels=None), on the CPU, frozen, with float32 weights (or, for another kind of file,
        what that kind is).
    Raises: CheckpointError if there is no such file, if it is no such file, or if it is a pickle; the message then has
        the command to type.
    """
    return _load(_locate(source))[0]


def _load(path: Path) -> tuple[Any, dict[str, Tensor], dict[str, str]]:
    """The model of a file, its tensors and its metadata."""
    tensors, metadata = _open(path)
    kind = metadata.get("kind", "")
    if kind not in KINDS:
        raise CheckpointError(
            f"{path} is a safetensors file, but not one of seeds: its metadata have no known kind. It holds "
            f"{foreign.described(tensors)}. {foreign.WAY_IN}"
        )
    module, builder = KINDS[kind]
    with _naming(path):
        if len(metadata.get("name", "")) > MAX_NAME:
            raise CheckpointError(f"its name has {len(metadata['name']):,} characters; at most {MAX_NAME} are read")
        return operator.attrgetter(builder)(importlib.import_module(module))(tensors, metadata), tensors, metadata


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns whatever is wrong with the contents of a file into one sentence that begins with its name."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(f"{path} cannot be used: its metadata or weights lack {reason(error)}.") from error
    except (ValueError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path} cannot be used: {reason(error)}.") from error


def save(
    denoiser: Preconditioned,
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    about: Mapping[str, Any] | None = None,
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
        raise CheckpointError(
            "This denoiser does not know its constructor's arguments; make it with `checkpoints.build`."
        )
    parameters = {name for name, _ in denoiser.named_parameters()}
    state = {
        name: t.detach().to("cpu", dtype if name in parameters else torch.float32)
        for name, t in denoiser.state_dict().items()
    }
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
    _write(path, state, metadata)


def network_from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Preconditioned:
    """The denoiser that `save` wrote, in the channels-last layout, which convolutions like best."""
    config = Config(metadata["class_name"], _unjson(metadata["kwargs"]), _unjson(metadata["attributes"]))
    facts = _unjson(metadata["schedule"])
    schedule = lookup("schedule", facts.pop("name"), schedules.SCHEDULES)(**facts)
    denoiser = _assemble(config, tensors, schedule=schedule, name=metadata["name"])
    return denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it


def classifier_from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> ConvClassifier:
    """The frozen classifier of a file of kind "features": its weights by name, its constructor's arguments as JSON in
    `kwargs`."""
    with torch.device("meta"):
        classifier = build_classifier(_unjson(metadata["kwargs"]))
    return fill(classifier, tensors)


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
    strict: bool = False,
    image_size: int = 64,
    progress: bool = True,
    opener: OpenerDirector | None = None,
) -> dict[str, Any]:
    """Converts an EDM-family checkpoint (`*.pkl`), or OpenAI's guided-diffusion network of 64 x 64 (`*.pt`), to
    safetensors.

    The pickle is read as data: nothing in it runs. The `.pt` is read by torch with weights_only=True.

    Args:
        source: a file, or an https address, which is fetched into a cache ($SEEDS_CACHE, default ~/.cache/seeds).
        out: the safetensors file to write; replaced if it exists, and only when all is well.
        sha256: of the source, 64 hex digits; checked before the file is read.
        max_bytes: a larger source is refused.
        strict: refuse what would be converted with a warning.
        image_size: pixels a side that a guided-diffusion network was trained on, which its file does not say.
        progress: show a bar while fetching.
        opener: what fetches; by default one that speaks https only.

    Returns: the facts of `info(out)`; what was warned of stands there too, under about, warning.
    Warns: CheckpointWarning if the file does not tell all that its network computes, as one that was pickled with a
        changed network file, or a guided-diffusion network that is not the published one.
    Raises: CheckpointError with one sentence.
    """
    if Path(out).suffix != ".safetensors":
        raise CheckpointError(f"{out} does not end in .safetensors; name the output so.")
    is_url = isinstance(source, str) and "://" in source
    path = fetch(str(source), max_bytes, progress=progress, opener=opener) if is_url else Path(source)
    try:
        head, size = _head(path), path.stat().st_size
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise CheckpointError(f"{path} cannot be read: {reason(error)}.") from error
    if size > max_bytes:
        raise CheckpointError(
            f"{path} has {size:,} bytes, more than `max_bytes` = {max_bytes:,} (--max-size). Raise it if you expect "
            "that."
        )
    found = hash_file(path)
    if sha256 is not None and sha256.lower() != found:
        again = f" Delete {path} to fetch it again." if is_url else ""
        raise CheckpointError(f"{source} has SHA-256 {found}, not {sha256}; it is not the file you want.{again}")
    about = {"source": str(source) if is_url else path.name, "source_sha256": found, "source_bytes": size}
    try:
        denoiser, more = _read_source(path, head, Path(out).stem, image_size)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be converted: {error}.") from None
    if "warning" in more and strict:
        raise CheckpointError(f"{path} is not converted, as `strict` (--strict) asks: {more['warning']}")
    save(denoiser, out, about=about | more)
    if "warning" in more:
        warnings.warn(f"{path}: {more['warning']}", CheckpointWarning, stacklevel=2)
    return info(out)


def _read_source(path: Path, head: bytes, name: str, image_size: int) -> tuple[Preconditioned, dict[str, Any]]:
    """The denoiser in a file of another kind, and what is to be known of it. Raises: CheckpointError with a reason, or
    with what the file is."""
    it = foreign.what(path, head)
    if it and foreign.GUIDED in it:
        return _guided(foreign.archived(path), name, image_size)
    if it:
        raise CheckpointError(f"{it}. {foreign.WAY_IN.rstrip('.')}")
    if head[8:9] == b"{":
        raise CheckpointError("it is a safetensors file already; `seeds info` says what is in it")
    return read_pickle(path.read_bytes(), name)


def _guided(tensors: Mapping[str, Tensor], name: str, image_size: int) -> tuple[Preconditioned, dict[str, Any]]:
    config, state = guided.read(tensors, image_size)
    about: dict[str, Any] = {"assumed": guided.ASSUMED}
    if config.kwargs != guided.PUBLISHED:
        about["warning"] = (
            "It is not OpenAI's network of 64 x 64, and its file does not say how it was trained. Images of "
            f"{image_size} x {image_size} (--image-size) and that network's settings are taken: {guided.ASSUMED}. With "
            f"others, what is drawn is wrong. {CHECK}"
        )
    return _assemble(config, state, name=name), about


def read_pickle(data: bytes, name: str) -> tuple[Preconditioned, dict[str, Any]]:
    """The denoiser in the bytes of an EDM-family pickle, and what is to be known of it: network_sha256, and a warning
    if its source is another.

    Raises: CheckpointError with a reason that continues "it cannot be read: ".
    """
    content = edm.read(data)
    kwargs = by_name(content.class_name, content.args, content.kwargs)
    denoiser = _assemble(Config(content.class_name, kwargs, content.attributes), content.state, name=name)
    others = [source for source in content.sources if source not in edm.PUBLISHED_SOURCES]
    about: dict[str, Any] = {"network_sha256": (others or content.sources)[0]}
    if others:
        about["warning"] = (
            f"It was pickled with a network file (SHA-256 {others[0]}) that is none of the published ones. That was "
            f"not run: its weights now serve the published {content.class_name}, and if theirs computes otherwise, as "
            f"forks do under the same names, what is drawn is wrong. {CHECK}"
        )
    return denoiser, about


CHECK = (
    "Check it on 8 or more clean images that it was trained for: seeds.check_model(seeds.checkpoints.load(FILE), "
    "images)."
)


def info(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Facts of a weight file, for people: class, arguments, parameters, noise levels, hashes. Raises CheckpointError as
    `load`."""
    path = _locate(source)
    model, tensors, metadata = _load(path)
    with _naming(path):
        return _facts(path, model, tensors, metadata)


def _facts(path: Path, model: Any, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    facts: dict[str, Any] = {"file": str(path), "kind": metadata["kind"], "name": metadata.get("name", path.stem)}
    if isinstance(model, Preconditioned):
        facts |= {"class": metadata["class_name"], "arguments": _unjson(metadata["kwargs"])}
        facts |= {"nsr_range": model.nsr_range or (0.0, math.inf), "schedule": repr(model.schedule)}
    parameters = (
        sum(p.numel() for p in model.parameters())
        if isinstance(model, torch.nn.Module)
        else sum(t.numel() for t in tensors.values())
    )
    facts |= {
        "parameters": parameters,
        "image": getattr(model, "shape", None),
        "classes": getattr(model, "classes", None),
    }
    facts |= {"about": _unjson(metadata.get("about", "{}")), "file_sha256": hash_file(path)}
    if "weights_sha256" in metadata:
        agrees = metadata["weights_sha256"] == hash_tensors(tensors)
        facts["weights_sha256"] = metadata["weights_sha256"] + (
            "" if agrees else " (WRONG: the weights have changed since)"
        )
    return facts


def _locate(source: str | os.PathLike[str]) -> Path:
    path, known = Path(source), bundled()
    if str(source) in known:
        return known[str(source)]
    if "://" in str(source):
        out = Path(path.name or "model").with_suffix(".safetensors")
        raise CheckpointError(
            f"{source} is an address; models are read from files. Fetch and convert it once: "
            f"{shlex.join(['seeds', 'convert', str(source), str(out)])}"
        )
    try:
        head = _head(path)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(
            f"There is no file {path} and no bundled model of that name. Bundled: {', '.join(known) or 'none'}."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}.") from error
    if it := foreign.what(path, head):
        way = f"Convert it once: {_command(path)}" if foreign.GUIDED in it else foreign.WAY_IN
        raise CheckpointError(f"{path} is not read: {it}. {way}")
    # a safetensors header's length may end in 0x80
    is_pickle = path.suffix == ".pkl" or (head[:1] == foreign.PICKLE and head[8:9] != b"{")
    if is_pickle:
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is opened, so it is not. Convert it once, safely: "
            f"{_command(path)}"
        )
    return path


def _command(path: Path) -> str:
    return shlex.join(["seeds", "convert", str(path), str(path.with_suffix(".safetensors"))])


def _head(path: Path) -> bytes:
    """The first bytes of a file. Raises: CheckpointError if it is something else, OSError if it cannot be opened,
    ValueError for an impossible name."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise CheckpointError(foreign.folder(path))
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path} is no file, but a pipe, a socket or a device.")
    with path.open("rb") as file:
        return file.read(16)


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {reason(error)}.") from error


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes safetensors, atomically."""
    try:
        with replacing(path, shared=True) as part, part.open("wb") as file:
            file.writelines(pack(tensors, metadata))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be written: {reason(error)}.") from error


def _schedule_facts(schedule: Any) -> dict[str, Any]:
    names = [name for name, cls in schedules.SCHEDULES.items() if type(schedule) is cls]
    if not names:
        raise CheckpointError(
            f"The schedule {schedule!r} cannot be stored; storable are {', '.join(schedules.SCHEDULES)}."
        )
    return {"name": names[0]} | {f.name: getattr(schedule, f.name) for f in dataclasses.fields(schedule) if f.init}


def _json(value: Any) -> str:
    def plain(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {key: plain(inner) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [plain(inner) for inner in item]
        return str(item) if isinstance(item, float) and math.isinf(item) else item

    return json.dumps(plain(value), sort_keys=True)


def _unjson(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError("its metadata are damaged") from error
    if not isinstance(value, dict):
        raise CheckpointError("its metadata are damaged")
    return {key: math.inf if item == "inf" else item for key, item in value.items()}
