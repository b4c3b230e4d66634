"""Layers of the EDM-family U-Nets: linear, convolution with FIR resampling, group norm, embeddings, and the residual
block.

Precision rule: every layer casts its parameters to the dtype of its input, so the activation dtype is that of the
image. float16 or bfloat16 images keep float32 parameters, embeddings, norm statistics and softmax; float64 images give
a float64 evaluation.

Initial weights (for training; loading overwrites them): Xavier uniform, `fan_avg` scaling as in DDPM (Ho et al. 2020,
arXiv:2006.11239) and NCSN++ (Song et al. 2021, arXiv:2011.13456), biases 0. The last convolution of each residual
branch and the output convolution start at 0 (`zero=True`), so that every block starts as its skip path (Dhariwal and
Nichol 2021, arXiv:2105.05233).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seeds.errors import InputError

CPU_HALF_ATTENTION = torch.backends.cpu.get_cpu_capability() == "AVX512"
"""torch's attention in half precision needs AVX-512 on a CPU with AMX, and fails if torch was told to go without;
float32 serves everywhere."""


def _like(parameter: Tensor | None, x: Tensor) -> Tensor | None:
    return None if parameter is None else parameter.to(x.dtype)


class Linear(nn.Linear):
    """y = x @ weight^T + bias, x (..., in_features), in the dtype of x."""

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), _like(self.bias, x))


class Conv2d(nn.Module):
    """Convolution, optionally with a FIR filter that doubles (`up`) or halves (`down`) the resolution.

    The filter is outer(r, r) / (sum r)^2 with r = `resample_filter`; doubling applies it times 4 to the zero-stuffed
    image. kernel = 0 means the filter alone. Unfused: resample, then convolve. `fused_resample` pads once for both,
    and when halving convolves first, at full resolution. `zero` starts the weight at 0. x (B, in_channels, H, W) ->
    (B, out_channels, H', W').

    Raises: ValueError if both `up` and `down` are set.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        bias: bool = True,
        up: bool = False,
        down: bool = False,
        resample_filter: Sequence[float] = (1, 1),
        fused_resample: bool = False,
        zero: bool = False,
    ):
        super().__init__()
        if up and down:
            raise InputError("`up` and `down` exclude each other: a layer resamples once.")
        self.up, self.fused_resample, self.zero = up, fused_resample, zero
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel)) if kernel else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if kernel and bias else None
        r = torch.tensor(resample_filter, dtype=torch.float32)
        self.resample_filter: Tensor | None
        self.register_buffer("resample_filter", torch.outer(r, r)[None, None] / r.sum() ** 2 if up or down else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            nn.init.zeros_(self.weight) if self.zero else nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, fir = _like(self.weight, x), _like(self.bias, x), _like(self.resample_filter, x)
        pad = 0 if weight is None else weight.shape[-1] // 2
        fir_pad = 0 if fir is None else (fir.shape[-1] - 1) // 2
        if weight is None or fir is None or not self.fused_resample:
            if fir is not None:
                x = _double(x, fir, fir_pad) if self.up else _halve(x, fir, fir_pad)
            return x if weight is None else F.conv2d(x, weight, bias, padding=pad)
        if self.up:
            return F.conv2d(_double(x, fir, max(fir_pad - pad, 0)), weight, bias, padding=max(pad - fir_pad, 0))
        x = _halve(F.conv2d(x, weight, padding=pad + fir_pad), fir, 0)
        return x if bias is None else x + bias[:, None, None]


def _double(x: Tensor, fir: Tensor, pad: int) -> Tensor:
    channels, taps = x.shape[1], 4 * fir
    if fir.shape[-1] == 2:  # no two taps meet: each image point is repeated, times its tap
        return F.interpolate(x, scale_factor=2, mode="nearest") * taps.repeat(1, 1, *x.shape[2:])
    narrow = x.device.type == "cpu" and x.element_size() < 4  # where torch's loop is 50 times slower than in float32
    wide = F.conv_transpose2d(
        x.float() if narrow else x,
        (taps.float() if narrow else taps).expand(channels, 1, -1, -1),
        stride=2,
        padding=pad,
        groups=channels,
    )
    return wide.to(x.dtype)


def _halve(x: Tensor, fir: Tensor, pad: int) -> Tensor:
    channels = x.shape[1]
    return F.conv2d(x, fir.expand(channels, 1, -1, -1), stride=2, padding=pad, groups=channels)


class GroupNorm(nn.GroupNorm):
    """Group normalisation with min(num_groups, num_channels // min_channels_per_group) groups; statistics at least in
    float32.

    Raises: ValueError if the channels do not fill the groups.
    """

    def __init__(self, num_channels: int, num_groups: int = 32, min_channels_per_group: int = 4, eps: float = 1e-5):
        groups = min(num_groups, num_channels // min_channels_per_group)
        if groups < 1 or num_channels % groups:
            raise InputError(
                f"{num_channels} channels (from `model_channels` and `channel_mult`) cannot be normed in groups: "
                f"take a multiple of {max(groups, min_channels_per_group)}."
            )
        super().__init__(groups, num_channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class PositionalEmbedding(nn.Module):
    """x (B,) -> (B, num_channels): [cos(x f), sin(x f)], f_i = max_positions^(-i / (h - e)).

    h = num_channels // 2; e = 1 if `endpoint` else 0. The frequencies are float32 numbers whatever the dtype of x,
    powers rounded once on the host, so that every processor hears the same. They are no buffer: they follow the module
    to a device, and no dtype.
    """

    def __init__(self, num_channels: int, max_positions: int = 10000, endpoint: bool = False):
        super().__init__()
        self.num_channels, self.max_positions, self.endpoint = num_channels, max_positions, endpoint
        self.frequencies = self._frequencies()

    def _frequencies(self) -> Tensor:
        half = self.num_channels // 2
        base, steps = np.float64(np.float32(1 / self.max_positions)), half - (1 if self.endpoint else 0)
        exponents = np.arange(half, dtype=np.float32) / np.float32(max(steps, 1))
        return torch.from_numpy((base ** exponents.astype(np.float64)).astype(np.float32))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PositionalEmbedding":
        super()._apply(fn, recurse)
        device = fn(torch.empty(0, device=self.frequencies.device)).device
        if device.type != "meta":
            self.frequencies = self._frequencies().to(device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        phase = x[:, None] * self.frequencies.to(x.dtype)
        return torch.cat([phase.cos(), phase.sin()], dim=1)


class FourierEmbedding(nn.Module):
    """x (B,) -> (B, num_channels): [cos(2 pi f x), sin(2 pi f x)], f drawn once from N(0, scale^2) and kept in the
    checkpoint."""

    freqs: Tensor

    def __init__(self, num_channels: int, scale: float = 16):
        super().__init__()
        self.register_buffer("freqs", nn.init.normal_(torch.empty(num_channels // 2), std=scale))

    def forward(self, x: Tensor) -> Tensor:
        phase = x[:, None] * (2 * math.pi * self.freqs.to(x.dtype))
        return torch.cat([phase.cos(), phase.sin()], dim=1)


class UNetBlock(nn.Module):
    """Residual block, conditioned on an embedding, with optional self-attention.

    x (B, in_channels, H, W), emb (B or 1, emb_channels) -> (B, out_channels, H', W'):

        h = conv0(silu(norm0(x)))
        h = silu(norm1(h) * (scale + 1) + shift)  if adaptive_scale, (scale, shift) = affine(emb);  else silu(norm1(h +
        affine(emb))) y = (conv1(dropout(h)) + skip(x)) * skip_scale
        y = (y + proj(attention(norm2(y)))) * skip_scale        if there are heads

    Heads: `num_heads`, or out_channels // channels_per_head when it is None. No heads, no attention layers, even with
        attention=True.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
        num_heads: int | None = None,
        channels_per_head: int = 64,
        dropout: float = 0.0,
        skip_scale: float = 1.0,
        eps: float = 1e-5,
        resample_filter: Sequence[float] = (1, 1),
        resample_proj: bool = False,
        adaptive_scale: bool = True,
    ):
        super().__init__()
        if num_heads is None:
            num_heads = out_channels // channels_per_head
        self.num_heads = num_heads if attention else 0
        self.dropout, self.skip_scale, self.adaptive_scale = dropout, float(skip_scale), adaptive_scale
        resampled = partial(Conv2d, in_channels, out_channels, up=up, down=down, resample_filter=resample_filter)
        self.norm0 = GroupNorm(in_channels, eps=eps)
        self.conv0 = resampled(kernel=3)
        self.affine = Linear(emb_channels, out_channels * (2 if adaptive_scale else 1))
        self.norm1 = GroupNorm(out_channels, eps=eps)
        self.conv1 = Conv2d(out_channels, out_channels, kernel=3, zero=True)
        self.skip = None
        if out_channels != in_channels or up or down:
            self.skip = resampled(kernel=1 if resample_proj or out_channels != in_channels else 0)
        if self.num_heads:
            self.norm2 = GroupNorm(out_channels, eps=eps)
            self.qkv = Conv2d(out_channels, 3 * out_channels, kernel=1)
            self.proj = Conv2d(out_channels, out_channels, kernel=1, zero=True)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        a = self.affine(emb).to(h.dtype)[:, :, None, None]
        if self.adaptive_scale:
            scale, shift = a.chunk(2, dim=1)
            h = F.silu(torch.addcmul(shift, self.norm1(h), scale + 1))
        else:
            h = F.silu(self.norm1(h + a))
        h = self.conv1(F.dropout(h, self.dropout, self.training))
        y = (h + (x if self.skip is None else self.skip(x))) * self.skip_scale
        if not self.num_heads:
            return y
        return (y + self.proj(self._attend(self.qkv(self.norm2(y))))) * self.skip_scale

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, 3 C, H, W) -> (B, C, H, W). Channel o of `qkv` has role o mod 3 (q, k, v): the roles interleave fastest,
        heads slowest."""
        batch, channels, height, width = qkv.shape
        tokens = qkv.flatten(2).unflatten(1, (self.num_heads, -1, 3)).permute(3, 0, 1, 4, 2).contiguous()
        q, k, v = tokens.unbind(0)  # each (B, heads, H W, C / heads)
        if q.device.type == "cpu" and q.dtype in (torch.bfloat16, torch.float16) and not CPU_HALF_ATTENTION:
            q, k, v = q.float(), k.float(), v.float()
        out = F.scaled_dot_product_attention(q, k, v).to(qkv.dtype)
        return out.transpose(2, 3).reshape(batch, channels // 3, height, width)
