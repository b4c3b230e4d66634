"""Files that are whole or absent, and the hash of tensors."""

import hashlib
import os
from functools import partial

import pytest
import torch
from safetensors.torch import load, save

from seeds.storage import atomic, hash_tensors, pack, replacing, sweep


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path, shared):
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path, shared=shared) as part:
        part.write_text("new")
        assert path.read_text() == "old" and (str(os.getpid()) in part.name) == shared
    assert path.read_text() == "new"
    with pytest.raises(KeyboardInterrupt), replacing(path, shared=shared) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_came_meanwhile_stays_where_asked(tmp_path):
    path = tmp_path / "file"
    for _ in range(2):
        with pytest.raises(FileExistsError), replacing(path, shared=True, over=False) as part:
            part.write_text("new")
            path.write_text("other")
        assert path.read_text() == "other" and list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_links_keeps_what_is_there_too(tmp_path, monkeypatch):
    def none(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    test_of_two_that_create_a_file_one_does(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("write", "step"), [(atomic, "replace"), (partial(atomic, over=False), "link")])
def test_a_writer_whose_temporary_file_is_swept_away_writes_again(tmp_path, monkeypatch, write, step):
    usual, swept = getattr(os, step), []

    def after_a_sweep(part, path):
        if len(swept) < 2:
            sweep(tmp_path)
            swept.append(part)
        return usual(part, path)

    monkeypatch.setattr(os, step, after_a_sweep)
    write(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole" and len(swept) == 2 and len(list(tmp_path.iterdir())) == 1


def test_of_two_that_create_a_file_one_does(tmp_path):
    assert atomic(tmp_path / "file", b"one", over=False) and not atomic(tmp_path / "file", b"two", over=False)
    assert (tmp_path / "file").read_bytes() == b"one"
    for over in (True, False):
        with pytest.raises(OSError, match="below cannot be written: File exists"):
            atomic(tmp_path / "file" / "below", b"three", over=over)


def test_a_sweep_takes_what_killed_writers_left_and_nothing_else(tmp_path):
    (tmp_path / "below").mkdir()
    left, other, mine = ".a.zip.12-0123abcd.part", "below/.000003.png.7-89abcdef.part", ".notes.part"
    for name in (left, other, mine):
        (tmp_path / name).write_text("")
    sweep(tmp_path, "a.zip")
    assert not (tmp_path / left).exists() and (tmp_path / other).exists()
    sweep(tmp_path)
    assert not (tmp_path / other).exists() and (tmp_path / mine).exists()


def packed(*given, **options):
    return b"".join(pack(*given, **options))


MIXED = {
    "b": torch.arange(3.0), "a": torch.zeros(2, dtype=torch.float16), "c": torch.arange(4).view(2, 2),
    "d": torch.ones(2, 3, dtype=torch.float64).T, "\N{LATIN SMALL LETTER E WITH ACUTE}": torch.tensor(True),
}  # fmt: skip
FACTS = {"kind": "x", "about": '{"a": "\N{LATIN SMALL LETTER E WITH ACUTE}"}'}


def test_packed_tensors_are_the_same_bytes_whenever_and_whichever_way_round():
    files = {
        packed(dict(sorted(MIXED.items(), reverse=turn)), dict(sorted(FACTS.items(), reverse=turn)))
        for turn in (False, True)
    }
    assert len(files) == 1
    found = load(files.pop())
    assert found.keys() == MIXED.keys() and all(torch.equal(found[name], MIXED[name]) for name in MIXED)


def test_packed_bytes_are_those_of_files_written_before():
    """Golden hashes, so that weights made again are the published file; the data lie in the order of the library's own
    writer."""
    spaced = packed(MIXED, FACTS, separators=(", ", ": "))
    assert hashlib.sha256(spaced).hexdigest() == "3554d554132dba5809e2a294729af853f8fea709739f9885bd611fcc0d65584c"
    network = {"b": torch.arange(3.0), "a": torch.ones(2, 3, dtype=torch.float16).T, "w": torch.tensor(2.0)}
    assert (
        hashlib.sha256(packed(network, FACTS)).hexdigest()
        == "4e51dced1b360011e27dcb26c68c4c965027446949f69b2de4b4560f813c0c0e"
    )
    kinds = (
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.float16,
        torch.bfloat16,
        torch.int32,
        torch.float32,
        torch.float64,
        torch.int64,
    )
    whole = {str(kind): torch.full((3,), k + 1).to(kind) for k, kind in enumerate(kinds)}
    size = sum(tensor.nbytes for tensor in whole.values())
    assert packed(whole, {})[-size:] == save(whole)[-size:]


def test_the_hash_sees_names_dtypes_shapes_and_values_but_not_the_order_or_the_strides():
    one = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(2)}
    assert hash_tensors(one) == hash_tensors({"b": one["b"], "a": one["a"].T.contiguous().T})
    others = (
        {"c": one["a"], "b": one["b"]},
        {**one, "a": one["a"].view(3, 2)},
        {**one, "b": one["b"].double()},
        {**one, "b": torch.ones(2)},
    )
    assert len({hash_tensors(it) for it in (one, *others)}) == 5
