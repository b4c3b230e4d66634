"""DhariwalUNet: ADM (Dhariwal and Nichol 2021, arXiv:2105.05233) as parametrised by Karras et al. 2022
(arXiv:2206.00364)."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seeds.networks.blocks import Conv2d, GroupNorm, Linear, PositionalEmbedding, UNetBlock
from seeds.networks.labels import check_levels, class_rows


class DhariwalUNet(nn.Module):
    """U-Net of ADM: adaptive scale and shift, attention with 64 channels a head.

    forward(x, noise_labels, class_labels=None, augment_labels=None) -> F: x (B, in_channels, R, R), noise_labels (B,)
    or (1,), class_labels (B or 1, label_dim) one-hot or soft rows or None (= zeros), augment_labels (B or 1,
    augment_dim) or None (= zeros); F (B, out_channels, R, R) in the dtype of x. Parameter names and order are those of
    the published checkpoints.

    In training mode only, labels are dropped (zeroed) per sample with probability `label_dropout`, and `dropout` acts
    in the blocks.

    Raises: ValueError if img_resolution cannot be halved len(channel_mult) - 1 times.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
    ):
        super().__init__()
        check_levels(img_resolution, channel_mult)
        self.label_dim, self.label_dropout = label_dim, label_dropout
        emb_channels = model_channels * channel_mult_emb

        self.map_noise = PositionalEmbedding(model_channels)
        self.map_augment = Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        self.map_layer0 = Linear(model_channels, emb_channels)
        self.map_layer1 = Linear(emb_channels, emb_channels)
        self.map_label = Linear(label_dim, emb_channels, bias=False) if label_dim else None

        block = partial(UNetBlock, emb_channels=emb_channels, channels_per_head=64, dropout=dropout)
        self.enc = nn.ModuleDict()
        skips: list[int] = []  # output channels of every entry, in order
        channels = in_channels
        for level, mult in enumerate(channel_mult):
            res, width = img_resolution >> level, model_channels * mult
            if level == 0:
                channels = width
                self.enc[f"{res}x{res}_conv"] = Conv2d(in_channels, channels, kernel=3)
            else:
                self.enc[f"{res}x{res}_down"] = block(channels, channels, down=True)
            skips.append(channels)
            for index in range(num_blocks):
                self.enc[f"{res}x{res}_block{index}"] = block(channels, width, attention=res in attn_resolutions)
                channels = width
                skips.append(channels)

        self.dec = nn.ModuleDict()
        for level, mult in reversed(list(enumerate(channel_mult))):
            res, width = img_resolution >> level, model_channels * mult
            if level == len(channel_mult) - 1:
                self.dec[f"{res}x{res}_in0"] = block(channels, channels, attention=True)
                self.dec[f"{res}x{res}_in1"] = block(channels, channels)
            else:
                self.dec[f"{res}x{res}_up"] = block(channels, channels, up=True)
            for index in range(num_blocks + 1):
                attention = res in attn_resolutions
                self.dec[f"{res}x{res}_block{index}"] = block(channels + skips.pop(), width, attention=attention)
                channels = width
        self.out_norm = GroupNorm(channels)
        self.out_conv = Conv2d(channels, out_channels, kernel=3, zero=True)

    def forward(
        self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        emb = self._embed(noise_labels, class_labels, augment_labels)
        skips = []
        for layer in self.enc.values():
            x = layer(x, emb) if isinstance(layer, UNetBlock) else layer(x)
            skips.append(x)
        for key, layer in self.dec.items():
            x = layer(torch.cat([x, skips.pop()], dim=1) if "_block" in key else x, emb)
        return self.out_conv(F.silu(self.out_norm(x)))

    def _embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        emb = self.map_noise(noise_labels)
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels.to(emb.dtype))
        emb = self.map_layer1(F.silu(self.map_layer0(emb)))
        if self.map_label is not None:
            emb = emb + self.map_label(
                class_rows(class_labels, self.label_dim, emb, self.label_dropout if self.training else 0)
            )
        return F.silu(emb)
