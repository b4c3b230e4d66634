"""SongUNet: DDPM++ and NCSN++ (Song et al. 2021, arXiv:2011.13456) as parametrised by Karras et al. 2022
(arXiv:2206.00364)."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seeds.errors import InputError
from seeds.networks.blocks import Conv2d, FourierEmbedding, GroupNorm, Linear, PositionalEmbedding, UNetBlock
from seeds.networks.labels import check_levels, class_rows


class SongUNet(nn.Module):
    """U-Net of DDPM++ (the defaults) and NCSN++.

    NCSN++ is embedding_type="fourier", encoder_type="residual", channel_mult_noise=2, resample_filter=[1, 3, 3, 1].

    forward(x, noise_labels, class_labels=None, augment_labels=None) -> F: x (B, in_channels, R, R), noise_labels (B,)
    or (1,), class_labels (B or 1, label_dim) one-hot or soft rows or None (= zeros), augment_labels (B or 1,
    augment_dim) or None (= zeros); F (B, out_channels, R, R) in the dtype of x. Parameter names and order are those of
    the published checkpoints.

    In training mode only, labels are dropped (zeroed) per sample with probability `label_dropout`, and `dropout` acts
    in the blocks.

    Raises: ValueError if img_resolution cannot be halved len(channel_mult) - 1 times, or for an unknown type.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
        embedding_type: str = "positional",
        channel_mult_noise: int = 1,
        encoder_type: str = "standard",
        decoder_type: str = "standard",
        resample_filter: Sequence[float] = (1, 1),
    ):
        super().__init__()
        _check_choice("embedding_type", embedding_type, ("positional", "fourier"))
        _check_choice("encoder_type", encoder_type, ("standard", "skip", "residual"))
        _check_choice("decoder_type", decoder_type, ("standard", "skip"))
        check_levels(img_resolution, channel_mult)
        self.label_dim, self.label_dropout = label_dim, label_dropout
        emb_channels, noise_channels = model_channels * channel_mult_emb, model_channels * channel_mult_noise

        self.map_noise = (
            PositionalEmbedding(noise_channels, endpoint=True)
            if embedding_type == "positional"
            else FourierEmbedding(noise_channels)
        )
        self.map_label = Linear(label_dim, noise_channels) if label_dim else None
        self.map_augment = Linear(augment_dim, noise_channels, bias=False) if augment_dim else None
        self.map_layer0 = Linear(noise_channels, emb_channels)
        self.map_layer1 = Linear(emb_channels, emb_channels)

        block = partial(
            UNetBlock,
            emb_channels=emb_channels,
            num_heads=1,
            dropout=dropout,
            skip_scale=math.sqrt(0.5),
            eps=1e-6,
            resample_filter=resample_filter,
            resample_proj=True,
            adaptive_scale=False,
        )
        shape = (block, model_channels, channel_mult, num_blocks, attn_resolutions, resample_filter, img_resolution)
        skips = self._build_encoder(*shape, in_channels, encoder_type)
        self._build_decoder(*shape, skips, out_channels, decoder_type)

    def _build_encoder(
        self,
        block: Callable[..., UNetBlock],
        model_channels: int,
        channel_mult: Sequence[int],
        num_blocks: int,
        attn_resolutions: Sequence[int],
        resample_filter: Sequence[float],
        img_resolution: int,
        in_channels: int,
        encoder_type: str,
    ) -> list[int]:
        """Makes `enc`; output channels of its main entries, in order."""
        self.enc = nn.ModuleDict()
        skips: list[int] = []
        channels = aux_channels = in_channels
        for level, mult in enumerate(channel_mult):
            res = img_resolution >> level
            if level == 0:
                channels = model_channels
                self.enc[f"{res}x{res}_conv"] = Conv2d(in_channels, channels, kernel=3)
            else:
                self.enc[f"{res}x{res}_down"] = block(channels, channels, down=True)
                if encoder_type == "skip":
                    self.enc[f"{res}x{res}_aux_down"] = Conv2d(
                        aux_channels, aux_channels, kernel=0, down=True, resample_filter=resample_filter
                    )
                    self.enc[f"{res}x{res}_aux_skip"] = Conv2d(aux_channels, channels, kernel=1)
                if encoder_type == "residual":
                    self.enc[f"{res}x{res}_aux_residual"] = Conv2d(
                        aux_channels,
                        channels,
                        kernel=3,
                        down=True,
                        resample_filter=resample_filter,
                        fused_resample=True,
                    )
                    aux_channels = channels
            skips.append(channels)
            for index in range(num_blocks):
                self.enc[f"{res}x{res}_block{index}"] = block(
                    channels, model_channels * mult, attention=res in attn_resolutions
                )
                channels = model_channels * mult
                skips.append(channels)
        return skips

    def _build_decoder(
        self,
        block: Callable[..., UNetBlock],
        model_channels: int,
        channel_mult: Sequence[int],
        num_blocks: int,
        attn_resolutions: Sequence[int],
        resample_filter: Sequence[float],
        img_resolution: int,
        skips: list[int],
        out_channels: int,
        decoder_type: str,
    ) -> None:
        """Makes `dec`, which takes the encoder's outputs from the last."""
        self.dec = nn.ModuleDict()
        lowest, channels = len(channel_mult) - 1, skips[-1]
        for level, mult in reversed(list(enumerate(channel_mult))):
            res = img_resolution >> level
            if level == lowest:
                self.dec[f"{res}x{res}_in0"] = block(channels, channels, attention=True)
                self.dec[f"{res}x{res}_in1"] = block(channels, channels)
            else:
                self.dec[f"{res}x{res}_up"] = block(channels, channels, up=True)
            for index in range(num_blocks + 1):
                attention = index == num_blocks and res in attn_resolutions
                self.dec[f"{res}x{res}_block{index}"] = block(
                    channels + skips.pop(), model_channels * mult, attention=attention
                )
                channels = model_channels * mult
            if decoder_type == "skip" or level == 0:
                if level < lowest and decoder_type == "skip":
                    self.dec[f"{res}x{res}_aux_up"] = Conv2d(
                        out_channels, out_channels, kernel=0, up=True, resample_filter=resample_filter
                    )
                self.dec[f"{res}x{res}_aux_norm"] = GroupNorm(channels, eps=1e-6)
                self.dec[f"{res}x{res}_aux_conv"] = Conv2d(channels, out_channels, kernel=3, zero=True)

    def forward(
        self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        return self._decode(*self._encode(x, emb := self._embed(noise_labels, class_labels, augment_labels)), emb)

    def _embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        cos, sin = self.map_noise(noise_labels).chunk(2, dim=1)
        emb = torch.cat([sin, cos], dim=1)
        if self.map_label is not None:
            rows = class_rows(class_labels, self.label_dim, emb, self.label_dropout if self.training else 0)
            emb = emb + self.map_label(rows * math.sqrt(self.label_dim))
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels.to(emb.dtype))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))

    def _encode(self, x: Tensor, emb: Tensor) -> tuple[Tensor, list[Tensor]]:
        aux = x
        skips: list[Tensor] = []
        for key, layer in self.enc.items():
            if key.endswith("aux_down"):
                aux = layer(aux)
            elif key.endswith("aux_skip"):
                x = skips[-1] = x + layer(aux)
            elif key.endswith("aux_residual"):
                x = skips[-1] = aux = (x + layer(aux)) * math.sqrt(0.5)
            else:
                x = layer(x, emb) if isinstance(layer, UNetBlock) else layer(x)
                skips.append(x)
        return x, skips

    def _decode(self, x: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        aux: Tensor | None = None
        normed = x
        for key, layer in self.dec.items():
            if key.endswith("aux_up"):
                aux = layer(aux)
            elif key.endswith("aux_norm"):
                normed = F.silu(layer(x))
            elif key.endswith("aux_conv"):
                aux = layer(normed) if aux is None else layer(normed) + aux
            else:
                x = layer(torch.cat([x, skips.pop()], dim=1) if "_block" in key else x, emb)
        assert aux is not None  # level 0 always ends in aux_conv
        return aux


def _check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"`{argument}` is {value!r}; it must be one of {', '.join(map(repr, choices))}.")
