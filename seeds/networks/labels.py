"""What both U-Nets do with their arguments: class rows with label dropout, and the check that every level halves
exactly."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from seeds.errors import InputError


def class_rows(class_labels: Tensor | None, label_dim: int, emb: Tensor, drop: float) -> Tensor:
    """Rows (B or 1, label_dim) in the dtype of `emb`; None is one row of zeros; whole rows are zeroed with probability
    `drop`."""
    rows = emb.new_zeros(1, label_dim) if class_labels is None else class_labels.to(emb.dtype)
    if drop and class_labels is not None:
        rows = rows * (F.dropout(rows.new_ones(len(rows), 1), drop) > 0)
    return rows


def check_levels(img_resolution: int, channel_mult: Sequence[int]) -> None:
    """Raises ValueError unless `img_resolution` can be halved once per level after the first."""
    halvings = len(channel_mult) - 1
    if halvings < 0 or img_resolution <= 0 or img_resolution % 2**halvings:
        raise InputError(
            f"`img_resolution` = {img_resolution} cannot be halved {halvings} times, once per entry of `channel_mult` "
            f"= {list(channel_mult)} after the first. Use fewer levels or a multiple of {2 ** max(halvings, 0)}."
        )
