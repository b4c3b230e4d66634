"""Weight files: fixtures through `convert`, hostile and damaged files refused, safetensors out and in, https only."""

import email.message
import hashlib
import io
import json
import os
import re
import shlex
import struct
import subprocess
import sys
import time
import urllib.request
import urllib.response
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from edm_data import ROOT, WHOLE, assert_answers, cases
from pickle_writer import NET, Call, dump, fork, network, storage, tensor
from safetensors.torch import load_file, save_file

from seeds import checkpoints, iterate, schedules
from seeds.checkpoints import (
    CheckpointError,
    CheckpointWarning,
    Config,
    build,
    convert,
    edm,
    fetch,
    files,
    info,
    load,
    save,
)
from seeds.checkpoints.pickles import MAX_OPCODES
from seeds.cli import main
from seeds.cli.convert import convert as convert_command
from seeds.cli.info import info as info_command
from seeds.cli.models import load_model
from seeds.exact import GaussianMixture
from seeds.networks.classifier import ConvClassifier
from seeds.plans import Point

BAD = sorted((ROOT / "bad").glob("bad_*.pkl"))
GOOD = sorted((ROOT / "bad").glob("[!b]*.pkl"))
FLAG = "EDM_FIXTURE_PWNED"
# the fixtures hold no source of the reference
pytestmark = pytest.mark.filterwarnings("ignore::seeds.checkpoints.CheckpointWarning")

# The reference.


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    for name in WHOLE:
        convert(ROOT / f"{name}.pkl", folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize("name", WHOLE)
def test_fixture_through_convert(converted, name):
    meta, runs = cases(name)
    denoiser = load(converted / f"{name}.safetensors")
    assert [[key, list(t.shape)] for key, t in denoiser.state_dict().items()] == meta["state_dict"]
    assert denoiser.config.class_name == meta["class_name"] and denoiser.config.kwargs == meta["init_kwargs"]
    assert sum(p.numel() for p in denoiser.parameters()) == meta["n_params"] and not any(
        p.requires_grad for p in denoiser.parameters()
    )
    low, high = denoiser.nsr_range or (0.0, float("inf"))
    assert (low, high) == (meta["sigma_min"], float(meta["sigma_max"]))
    for case in runs:
        assert_answers(denoiser, case)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_file_is_refused_in_one_sentence(path, tmp_path, capfd):
    with pytest.raises(CheckpointError) as caught:
        convert(path, tmp_path / "out.safetensors")
    said = str(caught.value)
    assert said.startswith(str(path)) and said.endswith(".") and "\n" not in said and len(said) < len(str(path)) + 280
    assert FLAG not in os.environ and capfd.readouterr().err == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file_loads_and_its_source_text_is_dropped(path, tmp_path):
    convert(path, tmp_path / "out.safetensors")
    assert FLAG not in os.environ
    assert (
        b"module_src" not in (written := (tmp_path / "out.safetensors").read_bytes())
        and b"raise " not in written
        and b"import " not in written
    )
    assert load(tmp_path / "out.safetensors")(torch.zeros(1, 3, 8, 8), Point(1.0, 1.0, 1.0)).isfinite().all()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.getattr",
        "torch.load",
        "torch.storage._load_from_bytes.__globals__",
        "numpy.core.multiarray._reconstruct",
    ],
)
def test_names_are_exact_pairs(name):
    with pytest.raises(CheckpointError, match=f"^it asks for {re.escape(name)}, which network weights do not need"):
        edm.read(b"\x80\x04" + dump({"ema": Call(name, "true")}) + b".")


# Bombs: small files that ask for much memory or time.

DOUBLING = b")\x94" + b"".join(b"h" + bytes([i]) + b"\x86\x94" for i in range(60))  # a tuple of 2^60 leaves
F4 = storage(b"\0" * 16, 4)
HERE = 123456789  # stands for bytes to be put in


def modules(depth: int, width: int) -> bytes:
    """A module of `width` children, all the same one, and so on: the memo makes width^depth of it."""
    children = b""
    if depth:
        again = b"".join(dump(str(i)) + b"h" + bytes([depth - 1]) for i in range(1, width))
        children = dump("0") + modules(depth - 1, width) + b"\x94" + again
    state = b"}" + dump("_modules") + b"}(" + children + b"us"
    return dump(Call("torch.nn.modules.container.ModuleDict")) + state + b"b"


def with_modules(inner: bytes) -> bytes:
    return network({}, _modules={"model": HERE}).replace(dump(HERE), inner)


LOOP = b"}\x94" + dump("m") + dump(Call("torch.nn.modules.container.ModuleDict")) + b"}" + dump("_modules") + b"h\0sbs"
KIB = storage(bytes(1024), 256)
# 300 tensors on one storage
FIRST, *REST = network({str(i): tensor(KIB, (256,), (1,)) for i in range(300)}).split(dump(KIB))
SHARED = FIRST + dump(KIB) + b"\x94" + b"h\0".join(REST)

BOMBS = {
    "memo slot": (b"\x80\x02Nr\xff\xff\xff\x07.", "memo slot 134217727 is used before slot 0"),
    "memo slot 255": (b"\x80\x02Nq\xff.", "memo slot 255 is used"),
    "long bytes": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "ends too early: 9,223,372,036,854,775,807 bytes"),
    "long text": (b"\x80\x04X\xff\xff\xff\xff.", "a text of 4,294,967,295 bytes"),
    "long frame": (b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f.", "a frame of"),
    "long integer": (b"\x80\x04\x8b\xff\xff\xff\x7f.", "opcode 0x8b"),
    "bytearray": (b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.", "opcode 0x96"),
    "duplication": (b"\x80\x04]2.", "opcode 0x32"),
    "extension registry": (b"\x80\x02\x82\x01.", "opcode 0x82"),
    "persistent id": (b"\x80\x04NQ.", "refers to an object outside"),
    "text persistent id": (b"\x80\x04Pos\n.", "opcode 0x50"),
    "out-of-band buffer": (b"\x80\x05\x97.", "opcode 0x97"),
    "protocol 0": (b"(lp0\n.", "not a pickle"),
    "protocol 6": (b"\x80\x06N.", "protocol 6"),
    "two protocols": (b"\x80\x04\x80\x04N.", "at the start"),
    "many objects": (b"\x80\x04(" + b"}" * (MAX_OPCODES + 9) + b"t.", "more than 1,000,000 pickle opcodes"),
    "key to hash": (b"\x80\x04}" + DOUBLING + b"Ns.", "a key that is no text"),
    "argument to print": (network({}, _init_kwargs=NET | {"model_channels": HERE}).replace(dump(HERE), DOUBLING),
        "value of type tuple"),
    "deep nesting": (b"\x80\x04)" + b"\x85" * 100_000 + b".", "no network under the key 'ema'"),
    "expanded view": (network({"w": tensor(F4, (4, 4), (0, 0))}), "reaches outside of its storage"),
    "shared storage": (SHARED, "more weights than bytes"),
    "many modules": (with_modules(modules(8, 9)), "more than 50,000 parts"),
    "deep modules": (with_modules(modules(14, 1)), "nested 12 deep"),
    "modules in a loop": (network({}, _modules=HERE).replace(dump(HERE), LOOP), "nested 12 deep"),
    "long names": (network({"n" * 300: None}), "endless names"),
    "trailing bytes": (network({}) + b"x", "1 bytes follow"),
    "many blocks": (network({}, _init_kwargs=NET | {"num_blocks": 10**9}), "num_blocks has the value 1000000000"),
    "wide": (network({}, _init_kwargs=NET | {"model_channels": 10**9}), "model_channels has the value 1000000000"),
    "large constant": (network({}, sigma_min=10**20), "sigma_min has the value 100000000000000000000"),
    "turned levels": (network({}, sigma_min=5.0, sigma_max=1.0), "arguments: `nsr_range` = (5.0, 1.0) must rise"),
    "levels not numbers": (network({}, sigma_min=float("nan")), "sigma_min has the value nan"),
    "no channels": (network({}, _init_kwargs=NET | {"model_channels": 0}),
        "model_channels has the value 0, which is not possible"),
    "few channels": (network({}, _init_kwargs=NET | {"model_channels": 2}),
        "from its arguments: 2 channels (from `model_channels`"),
    "half a channel": (network({}, _init_kwargs=NET | {"channel_mult": [1, 1.5]}),
        "channel_mult holds the value 1.5, which is not"),
    "negative channels": (network({}, _init_kwargs=NET | {"channel_mult": [-1]}),
        "channel_mult holds the value -1, which is not"),
    "endless level": (network({}, _init_kwargs=NET | {"channel_mult": [HERE]}).replace(dump(HERE), DOUBLING),
        "value of type tuple"),
    "no embedding": (network({}, _init_kwargs=NET | {"channel_mult_emb": 0}),
        "channel_mult_emb has the value 0, which is not"),
    "too many channels": (network({}, _init_kwargs=NET | {"model_channels": 1 << 16, "channel_mult": [1 << 16]}),
        "none of a SongUNet's ("),
    "table of another "
    "class": (network({"u": tensor(F4, (4,), (1,))}), "the weight 'model.map_layer0.weight' is missing"),
    "long key": (network({"n" * 1025: None}), "has a key of 1,025 characters; at most 1,024 are read"),
    "version 5": (network({}).replace(dump("version") + dump(6), dump("version") + dump(5)),
        "persistent object of version 5; only version 6 is read"),
    "unknown argument": (network({}, _init_kwargs=NET | {"hook": 1}), "argument 'hook' is not known"),
    "unknown "
    "network": (network({}, _init_kwargs=NET | {"model_type": "Evil"}), "'Evil' is not known; known are SongUNet"),
    "missing argument": (network({}, _init_kwargs={}), "img_resolution is missing"),
    "arguments twice": (network({}, _init_args=(8,)), "img_resolution is given twice, by position and by name"),
    "many positional "
    "arguments": (network({}, _init_args=(1,) * 9), "9 positional arguments; EDMPrecond takes 8: img_resolution, "),
    "endless positional "
    "arguments": (network({}, _init_args=HERE).replace(dump(HERE), DOUBLING), "img_resolution is given twice"),
    "positional arguments of another kind": (network({}, _init_args=8), "does not say its constructor's arguments"),
    "no arguments": (network({}, _init_args=None, _init_kwargs=None), "does not say its constructor's arguments"),
    "missing weight": (network({}), "weight 'model.map_layer0.weight' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(name):
    data, message = BOMBS[name]
    with pytest.raises(CheckpointError, match=re.escape(message)):
        files.read_pickle(data, name="bomb")


EMOJI = dump("\N{GRINNING FACE}" * 1_000_000)  # 4 MB, slow to decode
NESTED = storage(bytes(4), 1).args[0].replace(dump("type_sizes"), dump("x") + EMOJI + dump("type_sizes"))


def two_equal_keys(length: int) -> bytes:
    """A list of two texts, alike but not the same object, and of a dict in which they are set in turn."""
    key = dump("\N{GRINNING FACE}" * length) + b"\x94"
    return b"\x80\x04](" + key + key + b"}(h\0N" + b"h\1N" * 400_000 + b"ue."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"\x80\x04](ctorch.storage\n_load_from_bytes\n\x94"
            + dump((NESTED,))
            + b"\x94"
            + b"h\0h\1R" * 30_000
            + b"e.",
            "no network under the key",
        ),
        (two_equal_keys(1_000_000), "has a key of 1,000,000 characters"),
        (two_equal_keys(1024), "no network under the key"),
    ],
    ids=["one storage read again and again", "long keys compared", "keys of the greatest length"],
)
def test_work_is_bounded_by_the_size_of_the_file(data, message):
    """Each took minutes, or would, where the memo makes the work the product of a value's size and the times it is
    used."""
    start = time.process_time()
    with pytest.raises(CheckpointError, match=message):
        edm.read(data)
    assert time.process_time() - start < 10


def test_bytes_passed_twice_are_one_storage():
    shared = dump(F4.args) + b"\x94"
    again = network({"a": tensor(F4, (4,), (1,)), "b": tensor(F4, (4,), (1,))})
    first, *rest = again.split(dump(F4.args))
    read = edm.read(first + shared + b"h\0".join(rest))
    assert {name: t.tolist() for name, t in read.state.items()} == {"a": [0.0] * 4, "b": [0.0] * 4}


LONG = "A" * 3_000_000


@pytest.mark.parametrize(
    "data",
    [
        network({}, _init_kwargs=NET | {"encoder_type": LONG}),
        network({}, _init_kwargs=NET | {"model_type": LONG}),
        network({}, _init_kwargs=NET | {"img_resolution": LONG}),
        network({}).replace(dump("EDMPrecond"), dump(LONG)),
        network({}, _parameters=Call(f"os.{'A' * 250}", "true")),
        b"\x80\x04" + dump("os") + dump(LONG) + b"\x93.",
    ],
    ids=["a choice", "a network", "a number", "a class", "a short name", "a name"],
)
def test_messages_quote_little_of_a_file(data, tmp_path):
    (tmp_path / "long.pkl").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"A \.\.\. A") as caught:
        convert(tmp_path / "long.pkl", tmp_path / "out.safetensors")
    said = str(caught.value)
    assert len(said) < len(str(tmp_path)) + 400 and said.startswith(str(tmp_path)) and said.endswith(".")


@pytest.mark.parametrize("name", ["EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond"])
def test_positional_arguments_stand_in_the_order_of_the_reference(name):
    constants = {
        "EDMPrecond": {"sigma_min": 0.004, "sigma_max": 60.0, "sigma_data": 0.7},
        "VPPrecond": {"beta_d": 19.1, "beta_min": 0.2, "M": 500, "epsilon_t": 1e-3},
        "VEPrecond": {"sigma_min": 0.01, "sigma_max": 50.0},
        "iDDPMPrecond": {"C_1": 0.002, "C_2": 0.009, "M": 50},
    }[name]
    given = (
        {"img_resolution": 8, "img_channels": 1, "label_dim": 3, "use_fp16": True}
        | constants
        | {"model_type": "SongUNet"}
    )
    inner = {"model_channels": 8, "channel_mult": [1], "num_blocks": 1}
    model = build(Config(name, given | inner)).eval()
    stored = {
        key: tensor(storage(t.numpy().tobytes(), t.numel()), tuple(t.shape), t.stride())
        for key, t in model.model.state_dict().items()
    }
    table = {
        key: tensor(storage(t.numpy().tobytes(), t.numel()), tuple(t.shape), t.stride())
        for key, t in model.named_buffers()
        if key == "u"
    }
    inside = Call("torch.nn.modules.container.ModuleDict", state={"_parameters": stored})
    for count in (2, 4, len(given)):
        args, kwargs = tuple(given.values())[:count], dict(list(given.items())[count:]) | inner
        data = network({}, _init_args=args, _init_kwargs=kwargs, _buffers=table, _modules={"model": inside})
        back = files.read_pickle(data.replace(dump("EDMPrecond"), dump(name)), name="x")[0]
        assert back.config.kwargs == given | inner and (back.shape, back.classes, back.use_fp16) == ((1, 8, 8), 3, True)
        assert {key: getattr(back.preconditioner, key) for key in constants} == constants
        assert all(
            torch.equal(a, b) for a, b in zip(back.state_dict().values(), model.state_dict().values(), strict=True)
        )


@pytest.mark.parametrize(
    "kind,data,little",
    [
        ("FloatStorage", struct.pack("<4f", 1, -2, 3, 4), True),
        ("FloatStorage", struct.pack(">4f", 1, -2, 3, 4), False),
        ("DoubleStorage", struct.pack("<4d", 1, -2, 3, 4), True),
        ("HalfStorage", struct.pack("<4e", 1, -2, 3, 4), True),
        ("BFloat16Storage", b"".join(struct.pack("<f", v)[2:] for v in (1, -2, 3, 4)), True),
        ("LongStorage", struct.pack("<4q", 1, -2, 3, 4), True),
        ("CharStorage", struct.pack("<4b", 1, -2, 3, 4), True),
    ],
)
def test_storages_and_strides(kind, data, little):
    stored = storage(data, 4, kind, little)
    read = edm.read(
        network(
            {
                "whole": tensor(stored, (4,), (1,)),
                "turned": tensor(stored, (2, 2), (1, 2)),
                "end": tensor(stored, (), (), 3),
            }
        )
    )
    assert [t.tolist() for t in read.state.values()] == [[1, -2, 3, 4], [[1, 3], [-2, 4]], 4]
    assert {t.dtype for t in read.state.values()} == {edm._STORAGES[kind][1]} and all(
        t.is_contiguous() for t in read.state.values()
    )


@pytest.mark.parametrize(
    "broken",
    [
        tensor(F4, (5,), (1,)),
        tensor(F4, (4,), (1,), 1),
        tensor(F4, (2,), (4,)),
        tensor(F4, (2,), (-1,), 3),
        tensor(F4, (-1,), (1,)),
        tensor(F4, (2, 2), (1,)),
        tensor(F4, (2.0,), (1,)),
        tensor(storage(b"\0" * 15, 4), (4,), (1,)),
        tensor(storage(b"\0" * 20, 4), (4,), (1,)),
        tensor(storage(b"", -1), (0,), (1,)),
        tensor(storage(b"\0" * 16, 4, "UntypedStorage"), (4,), (1,)),
        tensor(storage(b"\0" * 16, 4, keys=("8",)), (4,), (1,)),
        tensor(storage(b"\0" * 16, 4, keys=("7", "7")), (4,), (1,)),
        Call("torch._utils._rebuild_parameter", 1, True, {}),
        Call("collections.OrderedDict", 1),
        Call("numpy.core.multiarray.scalar", Call("numpy.dtype", "O8", False, True), b"\0" * 8),
        Call("numpy.core.multiarray.scalar",
            Call("numpy.dtype", "f8", False, True, state=(3, "=", None, None, None, -1, -1, 0)), b"\0" * 8),
        Call("numpy.core.multiarray.scalar", Call("numpy.dtype", "f8", False, True), b"\0" * 7),
        Call("torch_utils.persistence._reconstruct_persistent_obj",
            {"type": "class", "version": 7, "module_src": "", "class_name": "", "state": {}}),
        7,
    ],
)  # fmt: skip
def test_broken_tensors_and_objects(broken):
    with pytest.raises(CheckpointError):
        edm.read(network({"w": broken}))


FUZZ = """
import json, sys
from pathlib import Path
from trials.fuzz_checkpoints import Watch, fuzz, limit_memory
watch = Watch()
limit_memory(1 << 30)
report = fuzz([Path(path).read_bytes() for path in sys.argv[1:]], 300, 1, watch)
try:
    bytes(1 << 30)
except MemoryError:
    report["limited"] = True
with watch.watching():
    exec("pass")
print(json.dumps(report | {"seen": watch.seen}))
"""


def test_mutants():
    """The trial at a small count, in a process that may have 1 GiB; and proofs that the limit holds and
    that its watch would see code run."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, *map(str, GOOD)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    report = json.loads(done.stdout)
    assert report["other_errors"] == [] and report["code_run"] == {} and report["loaded"] + report["refused"] == 300
    assert report["loaded"] > 5 and report["refused"] > 100
    assert report["limited"] and report["seen"]["exec"] == 1


# Conversion.


@pytest.fixture()
def forked(tmp_path):
    """A checkpoint of a fork of EDM: the class names, names and shapes of the published one, and a source text of its
    own."""
    source = "# c_skip and c_out as consistency models have them"
    (tmp_path / "fork.pkl").write_bytes(fork(build(Config("EDMPrecond", NET)), source))
    return tmp_path / "fork.pkl", hashlib.sha256(source.encode()).hexdigest()


def test_a_fork_is_converted_with_a_warning_that_stays_in_the_file(forked):
    source, sha256 = forked
    out = source.with_suffix(".safetensors")
    with pytest.warns(
        CheckpointWarning,
        match=rf"fork\.pkl: It was pickled with a network file \(SHA-256 {sha256}\) that is none of the published",
    ):
        facts = convert(source, out)
    assert (
        facts["about"]["network_sha256"] == sha256
        and "seeds.check_model(seeds.checkpoints.load(FILE), images)" in facts["about"]["warning"]
    )
    assert info(out)["about"] == facts["about"]
    result = CliRunner().invoke(convert_command, [str(source), str(out)])
    assert result.exit_code == 0
    assert f"Warning: It was pickled with a network file (SHA-256 {sha256})" in result.output
    assert "warning = It was pickled" in CliRunner().invoke(info_command, [str(out)]).output


def test_strict_refuses_a_fork(forked, capsys):
    source, sha256 = forked
    out = source.with_suffix(".safetensors")
    with pytest.raises(
        CheckpointError, match=rf"fork\.pkl is not converted, as `strict` \(--strict\) asks: It was pickled .*{sha256}"
    ):
        convert(source, out, strict=True)
    assert main(["convert", str(source), str(out), "--strict"]) == 1 and not out.exists()
    assert "none of the published ones" in capsys.readouterr().err


@pytest.mark.filterwarnings("error::seeds.checkpoints.CheckpointWarning")
@pytest.mark.parametrize(
    "inner",
    [None, "# a changed U-Net under the published preconditioner", "published\n"],
    ids=["published", "changed inside", "one byte more"],
)
def test_every_module_of_the_network_must_be_of_a_published_source(tmp_path, monkeypatch, inner):
    """A U-Net of another source under a published preconditioner is a fork too; loss and augmentation are no part of
    the network."""
    monkeypatch.setattr(edm, "PUBLISHED_SOURCES", frozenset({hashlib.sha256(b"published").hexdigest()}))
    path, out = tmp_path / "net.pkl", tmp_path / "net.safetensors"
    path.write_bytes(fork(build(Config("EDMPrecond", NET)), "published", inner or "published"))
    if inner:
        with pytest.raises(CheckpointError, match=hashlib.sha256(inner.encode()).hexdigest()):
            convert(path, out, strict=True)
    else:
        about = convert(path, out, strict=True)["about"]
        assert "warning" not in about and about["network_sha256"] in edm.PUBLISHED_SOURCES


def test_the_published_sources_are_two_hashes():
    assert len(edm.PUBLISHED_SOURCES) == 2 and all(
        re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in edm.PUBLISHED_SOURCES
    )


def test_convert_checks_the_hash_the_size_and_the_name(tmp_path):
    source, out = GOOD[0], tmp_path / "out.safetensors"
    right = hashlib.sha256(source.read_bytes()).hexdigest()
    facts = convert(source, out, sha256=right.upper())
    said = {"source": source.name, "source_sha256": right, "source_bytes": source.stat().st_size}
    assert facts["about"] | said == facts["about"] and facts["about"].keys() - said == {"network_sha256", "warning"}
    before = out.read_bytes()
    for call, message in (
        (lambda: convert(source, out, sha256="0" * 64), f"has SHA-256 {right}, not {'0' * 64}"),
        (lambda: convert(source, out, max_bytes=1000), "more than `max_bytes` = 1,000 (--max-size)"),
        (lambda: convert(source, tmp_path / "out.pt"), "does not end in .safetensors"),
        (lambda: convert(tmp_path / "none.pkl", out), "No such file"),
        (lambda: convert(BAD[0], out), "cannot be converted"),
        (lambda: convert(source, tmp_path / "none" / "out.safetensors"), "cannot be written"),
        (lambda: convert(out, tmp_path / "again.safetensors"), "it is a safetensors file already"),
    ):
        with pytest.raises(CheckpointError, match=re.escape(message)):
            call()
    assert out.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]
    convert(source, tmp_path / "twice.safetensors")
    assert load_file(tmp_path / "twice.safetensors").keys() == load_file(out).keys()


def test_a_pickle_is_refused_with_a_command_that_works(tmp_path):
    source = tmp_path / "my net.pkl"
    source.write_bytes(GOOD[0].read_bytes())
    with pytest.raises(CheckpointError, match="can run code when it is opened") as caught:
        load(source)
    command = shlex.split(str(caught.value).rpartition("safely: ")[2])
    assert command[:2] == ["seeds", "convert"]
    result = CliRunner().invoke(convert_command, command[2:])
    assert result.exit_code == 0 and hashlib.sha256(source.read_bytes()).hexdigest() in result.output
    assert load(tmp_path / "my net.safetensors").name == "my net"


class Network(urllib.request.BaseHandler):
    """Answers https requests from a table: url -> (status, headers, body)."""

    def __init__(self, pages):
        self.pages, self.asked = pages, []

    def https_open(self, request):
        self.asked.append(request.full_url)
        status, headers, body = self.pages[request.full_url]
        message = email.message.Message()
        for key, value in headers.items():
            message[key] = value
        answer = urllib.response.addinfourl(io.BytesIO(body), message, request.full_url, status)
        answer.msg = "said"
        return answer


def test_convert_fetches_https_into_a_cache(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SEEDS_CACHE", str(tmp_path / "cache"))
    body = GOOD[0].read_bytes()
    web = Network(
        {
            "https://a.test/net.pkl": (302, {"Location": "https://b.test/real.pkl"}, b""),
            "https://b.test/real.pkl": (200, {"Content-Length": str(len(body))}, body),
            "https://a.test/down.pkl": (302, {"Location": "http://b.test/real.pkl"}, b""),
            "https://a.test/local.pkl": (302, {"Location": "file:///etc/passwd"}, b""),
            "https://a.test/loop.pkl": (302, {"Location": "https://a.test/loop.pkl"}, b""),
            "https://a.test/large.pkl": (200, {"Content-Length": "99999999"}, b""),
            "https://a.test/silent.pkl": (200, {}, body),
            "https://a.test/cut.pkl": (200, {"Content-Length": str(len(body) + 1)}, body),
            "https://a.test/gone.pkl": (404, {}, b""),
        }
    )
    opener, out = fetch.https_opener(web), tmp_path / "out.safetensors"
    facts = convert("https://a.test/net.pkl", out, opener=opener)
    assert facts["about"]["source"] == "https://a.test/net.pkl" and web.asked == [
        "https://a.test/net.pkl",
        "https://b.test/real.pkl",
    ]
    assert "100%" in capfd.readouterr().err
    convert("https://a.test/net.pkl", out, opener=opener, progress=False)
    assert len(web.asked) == 2 and capfd.readouterr().err == "", "the second time comes from the cache"
    with pytest.raises(CheckpointError, match=r"is not the file you want\. Delete .*net\.pkl to fetch it again"):
        convert("https://a.test/net.pkl", out, opener=opener, sha256="1" * 64)
    for name, message in (
        ("down", "only https addresses are, without a user name, redirects included"),
        ("local", "could not be fetched: .*not allowed"),
        ("loop", "could not be fetched: .*loop"),
        ("large", "is larger than `max_bytes` = 1,000,000 "),
        ("cut", "was cut short: 40,3.. of 40,3.. bytes came"),
        ("gone", "could not be fetched: HTTP Error 404"),
    ):
        with pytest.raises(CheckpointError, match=message):
            convert(f"https://a.test/{name}.pkl", out, max_bytes=1_000_000, opener=opener, progress=False)
    with pytest.raises(CheckpointError, match="is larger than `max_bytes` = 1,000 "):
        convert("https://a.test/silent.pkl", out, max_bytes=1000, opener=opener, progress=False)
    for url in (
        "http://a.test/net.pkl",
        "file:///etc/passwd",
        "ftp://a.test/x",
        "https://me:secret@a.test/x",
        "https:///x",
        "data://x",
    ):
        with pytest.raises(CheckpointError, match="is not fetched: only https addresses are"):
            convert(url, out, opener=opener)
    for url, message in (
        ("https://[bad/x.pkl", r"'https://\[bad/x\.pkl' is not fetched: it is no address \(Invalid IPv6 URL\)"),
        (
            "https://a.test/\udcff.pkl",
            r"'https://a\.test/\\udcff\.pkl' is not fetched: .*write other characters as %XX",
        ),
        (f"http://a.test/{LONG}", "AAA ... AAA"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            convert(url, out, opener=opener)
        assert len(str(caught.value)) < 400
    monkeypatch.setenv("SEEDS_CACHE", "/dev/null/x")
    with pytest.raises(
        CheckpointError,
        match=r"/dev/null/x, the cache, cannot be used: Not a directory\. Name another in \$SEEDS_CACHE",
    ):
        convert("https://a.test/net.pkl", out, opener=opener)
    assert [path.name[17:] for path in (tmp_path / "cache").iterdir()] == ["net.pkl"], "no half file stays"


def test_the_opener_speaks_nothing_but_https():
    for url in ("http://127.0.0.1:9/x", "file:///etc/hostname", "ftp://127.0.0.1:9/x", "data:text/plain,x"):
        with pytest.raises(urllib.error.URLError, match="unknown url type"):
            fetch.https_opener().open(url, timeout=1)


# Safetensors.


@pytest.fixture()
def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kwargs = NET | {
            "img_resolution": 16,
            "patch": 2,
            "label_dim": 3,
            "embedding_type": "fourier",
            "sigma_data": 0.7,
            "channel_mult": [1, 2],
        }
        denoiser = build(Config("EDMPrecond", kwargs), schedule=schedules.VP(beta_min=0.2), name="small")
        for p in denoiser.parameters():
            p.data.add_(0.1 * torch.randn_like(p))
    return denoiser.eval()


def test_save_and_load(small, tmp_path):
    path, at, x = (
        tmp_path / "small.safetensors",
        Point(1.0, 0.8, 1.0),
        torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)),
    )
    save(small, path, about={"licence": "Apache-2.0"})
    back = load(path)
    last = small.to(memory_format=torch.channels_last)
    assert torch.equal(back(x, at, torch.tensor([0, 2])), last(x, at, torch.tensor([0, 2])).detach())
    assert (back.schedule, back.name, back.shape, back.classes) == (schedules.VP(beta_min=0.2), "small", (1, 16, 16), 3)
    assert back.preconditioner == small.preconditioner and not back.training
    first = path.read_bytes()
    save(back, path, about={"licence": "Apache-2.0"})
    assert path.read_bytes() == first, "the same weights give the same bytes"


def test_half_size_files_keep_their_tables_in_float32(small, tmp_path):
    path = tmp_path / "half.safetensors"
    save(small, path, dtype=torch.float16)
    stored, back = load_file(path), load(path)
    assert {name for name, t in stored.items() if t.dtype == torch.float32} == {
        name for name, _ in small.named_buffers()
    }
    assert {p.dtype for p in back.parameters()} == {torch.float32} and "WRONG" not in info(path)["weights_sha256"]
    x = torch.zeros(1, 1, 16, 16)
    torch.testing.assert_close(
        back(x, Point(1.0, 1.0, 1.0)), small(x, Point(1.0, 1.0, 1.0)).detach(), rtol=0.01, atol=0.005
    )


def test_info_tells_when_weights_changed(small, tmp_path):
    path = tmp_path / "small.safetensors"
    save(small, path)
    facts = info(path)
    assert facts["class"] == "EDMPrecond" and facts["arguments"]["sigma_data"] == 0.7 and facts["classes"] == 3
    assert (
        facts["parameters"] == sum(p.numel() for p in small.parameters())
        and facts["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    )
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert info(path)["weights_sha256"].endswith("(WRONG: the weights have changed since)")


def test_save_refuses_what_it_cannot_describe(small, tmp_path):
    with pytest.raises(CheckpointError, match=r"does not end in \.safetensors"):
        save(small, tmp_path / "x.pt")
    small.schedule = object()
    with pytest.raises(CheckpointError, match="cannot be stored; storable are vp"):
        save(small, tmp_path / "x.safetensors")
    small.config = None
    with pytest.raises(CheckpointError, match=r"make it with `checkpoints\.build`"):
        save(small, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "change,message",
    [
        ({"kind": "nothing"}, "no known kind"),
        ({"class_name": "Evil"}, "class 'Evil' is not known"),
        ({"kwargs": "[" * 100_000}, "cannot be used"),
        ({"kwargs": "[]"}, "cannot be used"),
        ({"kwargs": '{"img_resolution": 16, "img_channels": 1, "patch": 0}'},
            "argument patch has the value 0, which is not possible"),
        ({"kwargs": '{"img_resolution": 16, "img_channels": 1, "patch": 3}'}, "16 is not a multiple of `patch` = 3"),
        ({"kwargs": json.dumps(NET)}, "is missing"),
        ({"schedule": '{"name": "os.system"}'}, "cannot be used"),
        ({"schedule": '{"name": "vp", "beta_min": -1}'}, "cannot be used: `beta_min` = -1"),
        ({"schedule": json.dumps({"name": LONG})},
            "cannot be used: There is no schedule 'AAA.*AAA'. Known: vp, ve, edm.*"),
        ({"name": LONG}, "its name has 3,000,000 characters; at most 200 are read"),
    ],
)  # fmt: skip
def test_damaged_metadata(small, tmp_path, change, message):
    path = tmp_path / "small.safetensors"
    save(small, path)
    _, metadata = files._open(path)
    save_file(load_file(path), path, metadata | change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert len(str(caught.value)) < len(str(path)) + 400
    save_file(load_file(path), path, metadata | {"about": "7"})
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))} cannot be used: its metadata are damaged\.$"):
        info(path)


def test_a_mixture_file_of_odd_classes(tmp_path):
    """A file of 472 bytes whose class 2^40 must not make a table, or a set, of that size."""
    law, path = (
        GaussianMixture(torch.zeros(2, 1), 1.0, component_class=[0, 1]).to_tensors(),
        tmp_path / "it.safetensors",
    )
    for odd in (2**40, -1, 2):
        save_file(law | {"component_class": torch.tensor([0, odd])}, path, {"kind": "mixture"})
        for read in (load, info):
            with pytest.raises(
                CheckpointError,
                match=rf"^{re.escape(str(path))} cannot be used: `component_class` must .* 0 up; got 2 diff.*\.$",
            ):
                read(path)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"width": 1 << 16},
            r"the weight body.0.weight is torch.float32 \(4, 1, 3, 3\), not a float \(65536, 1, 3, 3\)",
        ),
        (
            {"width": 4, "classes": 1 << 16},
            r"the weight head.weight is torch.float32 \(3, 16\), not a float \(65536, 16\)",
        ),
        ({"width": 1 << 17}, "argument width has the value 131072, which is not possible"),
        ({"width": 10**40}, "argument width has the value 1000.*which is not possible"),
        ({"width": "8"}, "argument width has the value '8', which is not possible"),
        ({"width": 4, "classes": 3, "dropout": 2}, "no network can be built from its arguments: dropout probability"),
        ({"depth": 4}, "argument 'depth' is not known"),
        ({}, r"not a float \(32, 1, 3, 3\)"),
    ],
)
def test_a_classifier_file_that_promises_what_it_does_not_hold(tmp_path, kwargs, message):
    """Layers of width 65,536 would take 4.6 terabytes. Asked for, they end in an error of the allocator; a refusal for
    their shapes has not asked."""
    tensors, path = ConvClassifier(width=4, classes=3).state_dict(), tmp_path / "it.safetensors"
    save_file(tensors, path, {"kind": "features", "kwargs": json.dumps({"width": 4, "classes": 3})})
    images = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)
    assert load(path)(images)[1].shape == (2, 3)
    save_file(tensors, path, {"kind": "features", "kwargs": json.dumps(kwargs)})
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_a_classifier_file_of_odd_weights(tmp_path):
    tensors, path = ConvClassifier(width=4, classes=3).state_dict(), tmp_path / "it.safetensors"
    counted = "body.1.num_batches_tracked"
    for change, message in (
        ({counted: torch.tensor(1.0)}, f"the weight {counted} is torch.float32 .., not torch.int64"),
        ({"head.bias": torch.zeros(3, dtype=torch.int64)}, "the weight head.bias is torch.int64 .3,., not a float"),
        ({"more": torch.zeros(1)}, "the weight 'more' is not one of this network"),
    ):
        save_file(tensors | change, path, {"kind": "features", "kwargs": '{"width": 4, "classes": 3}'})
        with pytest.raises(CheckpointError, match=message):
            load(path)


def test_other_files(tmp_path):
    for name, data in (
        ("a.safetensors", b"\x08\0\0\0\0\0\0\0{}"),
        ("b.safetensors", b"\xff" * 40),
        ("c.pt", b"PK"),
        ("d.safetensors", b""),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match="not a readable safetensors file"):
            load(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"There is no file .*missing and no bundled model of that name"):
        load("missing")
    with pytest.raises(CheckpointError, match=r"/mem cannot be read: Input/output error\.$"):
        load("/proc/self/mem")
    with pytest.raises(CheckpointError, match=r"^x{300} cannot be read: File name too long\.$"):
        load("x" * 300)
    with pytest.raises(CheckpointError, match=r"cannot be read: embedded null byte\.$"):
        convert("x\0", tmp_path / "out.safetensors")
    with pytest.raises(CheckpointError, match=r"is an address.*: seeds convert https://a\.test/x\.pkl x\.safetensors$"):
        load("https://a.test/x.pkl")


def test_a_feature_network_is_no_denoiser():
    with pytest.raises(
        ValueError, match=r"`model` = 'fashion-features' is a feature network and no denoiser: .*\(--features\)\.$"
    ):
        load_model("fashion-features")


def test_bundled_models_are_known_by_their_metadata(small, tmp_path, monkeypatch):
    save(small, tmp_path / "my_small.safetensors")
    monkeypatch.setattr(files, "data_folder", lambda: tmp_path)
    assert list(checkpoints.bundled()) == ["my-small"] and load("my-small").name == "small"
    result = CliRunner().invoke(info_command, [])
    assert (
        result.exit_code == 0
        and "my-small" in result.output
        and "seeds-3" in result.output
        and torch.__version__ in result.output
    )


def test_commands_print_facts_and_one_line_errors(small, tmp_path, capsys):
    save(small, tmp_path / "small.safetensors")
    result = CliRunner().invoke(info_command, [str(tmp_path / "small.safetensors")])
    assert (
        result.exit_code == 0
        and re.search(r"^class +EDMPrecond$", result.output, re.M)
        and "sigma_data = 0.7" in result.output
    )
    assert (
        json.loads(CliRunner().invoke(info_command, [str(tmp_path / "small.safetensors"), "--json"]).output)["kind"]
        == "network"
    )
    assert main(["convert", str(BAD[0]), str(tmp_path / "x.safetensors")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ") and said.count("\n") == 1


def test_float_scalars_of_both_numpy_generations(converted):
    """skip_scale and friends are numpy scalars in the pickle; `u` of iDDPM travels as a tensor."""
    one, two = (load(converted / f"song_edm_uncond{suffix}.safetensors") for suffix in ("", "__torch2_numpy2"))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    value = Call(
        "numpy._core.multiarray.scalar",
        Call("numpy.dtype", "f8", False, True, state=(3, "<", None, None, None, -1, -1, 0)),
        struct.pack("<d", 0.7),
    )
    assert edm.read(network({}, sigma_data=value)).attributes == {"sigma_data": 0.7}
    assert np.isclose(load(converted / "adm_iddpm_cond.safetensors").preconditioner.sigma_min, 0.0064223, rtol=1e-5)


# the network is not trained: its answers are as large as its noise
@pytest.mark.filterwarnings("ignore:The run begins at nsr")
@pytest.mark.parametrize("solver", ["seeds-4", "erk-4"])
@pytest.mark.parametrize("name", ["song_iddpm_uncond", "adm_iddpm_cond"])
def test_fixed_stages_ask_an_iddpm_network_about_the_nearest_entry_of_its_table(converted, name, solver):
    """The network is told the whole index of the nearest level, and its input is scaled for the exact one: c_in = 1 /
    sqrt(nsr^2 + 1)."""
    denoiser, told = load(converted / f"{name}.safetensors"), []
    denoiser.model.register_forward_pre_hook(lambda module, given: told.append((given[0], float(given[1]))))
    u = denoiser.preconditioner.u.double().numpy()
    calls = list(iterate(denoiser, denoiser.shape, seed=[1, 2], steps=2, solver=solver, nsr_max=80.0))
    assert len(calls) == len(told) == 11 and torch.isfinite(calls[-1].denoised).all()
    for call, (asked, index) in zip(calls, told, strict=True):
        assert index == len(u) - 2 - np.abs(u - call.point.nsr).argmin()
        torch.testing.assert_close(asked, call.x / np.hypot(call.point.nsr, 1.0), rtol=1e-5, atol=1e-6)
    off = [np.abs(u / call.point.nsr - 1).min() for call in calls]
    assert max(off[::5]) < 1e-9 and max(off) > 1e-4, "steps end at entries, stages lie between"
