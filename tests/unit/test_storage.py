"""Files that are whole or absent, and the hash of tensors."""

import os

import pytest
import torch

from seeds.storage import hash_tensors, replacing


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
