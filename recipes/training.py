r"""Trains class-conditional U-Nets with EDM preconditioning and loss: what the recipes of the bundled networks share.

With nsr = exp(p_mean + p_std u), u ~ N(0, 1), and data standard deviation sd (Karras et al. 2022, arXiv:2206.00364,
Table 1):

    D(y, nsr) = c_skip y + c_out F(c_in y, ln(nsr) / 4, labels),      loss = E[(nsr^2 + sd^2) / (nsr sd)^2 |D - data|^2]

which is E |F - (data - c_skip y) / c_out|^2. Labels are zeroed with probability `label_dropout`, for classifier-free
guidance.

Every random number is a function of (seed, place of the image in the run), made by `seeds.noise`, and so the same on
every device: a run that was stopped and resumed, there or elsewhere, is the unbroken run (bit for bit on one thread of
the CPU with `--float32`). The learning rate rises over `warmup` images, stays, and falls linearly to zero over the last
`cooldown` of `images`: both may be changed on resume, so a cool-down can start from any checkpoint; the state keeps the
history of the settings. `--fit MINUTES` sets both, as soon as the speed is known, to what that time allows. Ctrl-C or
SIGTERM saves before it stops. Without the state file (raw weights, averages, moments), `--from` goes on from an
exported file: its averaged weights, its place in the data, and a fresh optimiser.

A GPU is used where there is one (`--device`): the data lie there, the batches are made there, and the host looks at a
result once in 50 steps. `torchrun --nproc_per_node=2 -m -- recipes.RECIPE ...` shares every batch between two processes
(cores, with `OMP_NUM_THREADS=1`, or GPUs): the same run but for the rounding of a sum, and the state is anybody's.
"""

import argparse
import csv
import functools
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from seeds import checkpoints
from seeds.distributed import Group, joined
from seeds.networks import Patched, SongUNet
from seeds.noise import gaussian, maker


class Data(NamedTuple):
    """Images (N, C, H, W) uint8, their labels (N,) int64, and which of them are as good mirrored, (N,) bool (None: no
    one)."""

    images: Any
    labels: Any
    flips: Any = None

    def on(self, device: torch.device | str) -> "Data":
        """The same as tensors on a device."""
        return Data(*(None if it is None else torch.tensor(it, device=device) for it in self))


TRAINING = 1 << 31
"""The part of the noise's key that no sampling draws from but by a chance of 2^-32."""


ALONE = Group()


@dataclass(frozen=True)
class Subject:
    """What a recipe trains: the model's name, the SongUNet's arguments, the patch around it, its levels, and whose data
    it is."""

    name: str
    network: dict[str, Any]
    patch: int
    nsr_range: tuple[float, float]
    source: str
    recipe: str


@dataclass(frozen=True)
class Settings:
    """Everything that decides the weights, with the data and the network's arguments. Lengths are in images seen."""

    seed: int = 0
    images: int = 220_000
    batch: int = 64
    lr: float = 1.5e-3
    warmup: int = 8_000
    cooldown: int = 170_000
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0  # largest norm of the gradient
    p_mean: float = -0.9
    p_std: float = 1.2
    sd: float = 0.7  # of the pixels of the training set, rounded
    label_dropout: float = 0.1
    ema: tuple[float, ...] = (10_000, 30_000)  # half-lives; shorter at first: at most `ema_ramp` of the images seen
    ema_ramp: float = 0.05

    def rate(self, seen: int) -> float:
        """Learning rate after `seen` images."""
        return self.lr * min(1.0, (seen + self.batch) / self.warmup, max(self.images - seen, 0) / self.cooldown)


def batch_at(
    data: Data, classes: int, seen: int, s: Settings, group: Group = ALONE
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(clean images, nsr (B, 1, 1, 1), noise, one-hot labels, some of them zeroed) of the batch that follows `seen`
    images, where the data are: this process' share of them."""
    images, labels, flips = data.on("cpu") if isinstance(data.images, np.ndarray) else data
    device, (_, *shape) = images.device, images.shape
    rows = group.share(_rows(len(images), seen, s, device))
    places = group.share(range(seen, seen + s.batch))
    draws = gaussian(places, s.seed, (3 + math.prod(shape),), part=TRAINING, device=maker("auto", device)).to(device)
    nsr = torch.exp(s.p_mean + s.p_std * draws[:, 0]).view(-1, 1, 1, 1)
    kept = draws[:, 1] >= (NormalDist().inv_cdf(s.label_dropout) if s.label_dropout else -math.inf)
    one_hot = (labels[rows, None] == torch.arange(classes, device=device)) & kept[:, None]
    # one rounding, the same everywhere: CUDA divides by a number in two
    clean = (images[rows].float() - 127.5) * (2 / 255)
    if flips is not None:
        clean = torch.where((flips[rows] & (draws[:, 2] < 0)).view(-1, 1, 1, 1), clean.flip(-1), clean)
    return clean, nsr, draws[:, 3:].reshape(clean.shape), one_hot.float()


def _rows(count: int, seen: int, s: Settings, device: torch.device) -> Tensor:
    """Which images (B,) follow `seen` of them: each epoch shows every one once, in an order of its own."""
    parts, at = [], seen
    while at < seen + s.batch:
        epoch, first = divmod(at, count)
        parts.append(_order(count, s.seed, epoch, device)[first : first + seen + s.batch - at])
        at += len(parts[-1])
    return torch.cat(parts)


@functools.lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    stream = np.random.Generator(np.random.Philox(key=np.array([seed, 2 * epoch + 1], np.uint64)))
    return torch.from_numpy(stream.permutation(count)).to(device)


def loss_of(network: nn.Module, sd: float, dtype: torch.dtype) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The EDM loss of a batch as a function (clean, nsr, noise, labels) -> scalar; the network works in `dtype`."""

    def loss(clean: Tensor, nsr: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        noisy, norm = clean + nsr * noise, (nsr.square() + sd**2).sqrt()
        target = (clean - sd**2 / norm.square() * noisy) / (nsr * sd / norm)
        out = network((noisy / norm).to(dtype), nsr.flatten().log() / 4, labels)
        return (out.float() - target).square().mean()

    return loss


class Trainer:
    """Network, optimiser, moving averages and the count of images seen; all of it in one safetensors file, which any
    device goes on from.

    Attributes:
        spent: seconds of training by the device's name.
    """

    def __init__(self, subject: Subject, settings: Settings, device: torch.device | str = "cpu", group: Group = ALONE):
        if settings.batch % group.world:
            raise ValueError(
                f"{group.world} processes cannot share batches of {settings.batch} images evenly; give a --batch that "
                f"is a multiple of {group.world}."
            )
        self.subject, self.settings, self.seen, self.device = subject, settings, 0, torch.device(device)
        self.group = group
        self.spent: dict[str, float] = {}
        self.history = [dict(seen=0, **asdict(settings))]  # settings, and from how many images on
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            self.network = Patched(SongUNet(**subject.network), subject.patch).to(
                self.device, memory_format=torch.channels_last
            )
        self.params = dict(self.network.named_parameters())
        self.adam = torch.optim.Adam(
            self.network.parameters(), lr=settings.lr, betas=(settings.beta1, settings.beta2), fused=True
        )
        self.ema = [{name: p.detach().clone() for name, p in self.params.items()} for _ in settings.ema]
        # the state that Adam would make at its first step, so that saving and loading need no cases
        for p in self.params.values():
            self.adam.state[p] = {
                "step": torch.zeros((), device=self.device),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }

    @property
    def seconds(self) -> float:
        """Of training, on all devices."""
        return sum(self.spent.values())

    def step(self, loss: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """One update with this process' share of a batch; returns the loss of all. The host does not wait for it."""
        self.adam.param_groups[0]["lr"] = self.settings.rate(self.seen)
        self.adam.zero_grad()
        value = loss(*batch)
        value.backward()
        value = value.detach()
        self.average([value, *(p.grad for p in self.params.values() if p.grad is not None)])
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.adam.step()
        self.seen += self.settings.batch
        for half_life, ema in zip(self.settings.ema, self.ema, strict=True):
            keep = 0.5 ** (self.settings.batch / min(half_life, self.settings.ema_ramp * self.seen))
            torch._foreach_lerp_(list(ema.values()), [p.detach() for p in self.params.values()], 1 - keep)
        return value

    def average(self, tensors: list[Tensor]) -> None:
        """Writes the mean over the processes into each tensor: to the bit the same in all of them."""
        if self.group.world > 1:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            parts = flat.div_(self.group.world).split([tensor.numel() for tensor in tensors])
            torch._foreach_copy_(tensors, [p.view_as(tensor) for p, tensor in zip(parts, tensors, strict=True)])

    def agreed(self, value: float) -> float:
        """What the first process says; the others' clocks and signals are their own. Asked at every step, where
        `Group.once` would leave a key each time."""
        if self.group.world > 1:
            said = torch.tensor(value, dtype=torch.float64)
            dist.broadcast(said, 0)
            value = said.item()
        return value

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name, not copied."""
        state = {f"raw.{name}": p.detach() for name, p in self.params.items()}
        for name, p in self.params.items():
            state |= {f"adam.{key}.{name}": value for key, value in self.adam.state[p].items()}
        return state | {f"ema{i}.{name}": value for i, ema in enumerate(self.ema) for name, value in ema.items()}

    def save(self, path: Path) -> None:
        """Writes the state; a reader never sees half a file. Raises FloatingPointError, and leaves the last one, if it
        holds NaN or inf."""
        if not all(bool(torch.isfinite(p).all()) for p in self.params.values()):
            raise FloatingPointError(
                f"The weights after {self.seen:,} images are not finite. {path} is as it was; go on from there with a "
                "lower --lr or --clip."
            )
        about = {"history": self.history, "network": self.subject.network, "seen": self.seen, "spent": self.spent}
        part = path.with_suffix(".part")
        save_file({name: t.contiguous() for name, t in self.tensors().items()}, part, {"state": json.dumps(about)})
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Takes over the state of `path`; settings of this Trainer stay. Raises ValueError for another network or other
        averages."""
        with safe_open(path, "pt") as file:
            about, mine = json.loads(file.metadata()["state"]), self.tensors()
            if about["network"] != self.subject.network or set(file.keys()) != set(mine):
                raise ValueError(
                    f"{path} holds the network {about['network']}, not {self.subject.network}; take another --run "
                    "folder."
                )
            for name, tensor in mine.items():
                tensor.copy_(file.get_tensor(name))
        self._take_place(about)

    def start_from(self, path: Path) -> None:
        """Takes over the weights of an exported file and its place in the data; the optimiser is new. Same errors as
        `load`."""
        model = checkpoints.load(path)
        if model.config.kwargs != self.config().kwargs:
            raise ValueError(f"{path} holds the network {model.config.kwargs}, not {self.config().kwargs}.")
        for name, tensor in model.model.named_parameters():
            for mine in (self.params[name].detach(), *(ema[name] for ema in self.ema)):
                mine.copy_(tensor)
        self._take_place(json.loads(safe_open(path, "pt").metadata()["about"]))

    def _take_place(self, about: dict) -> None:
        self.seen, self.history = about["seen"], about["history"]
        self.spent = about.get("spent", {"cpu": about.get("seconds", 0.0)})  # files of before know no device
        self.settle(self.settings)

    def settle(self, settings: Settings) -> None:
        """Takes these settings from here on; the history knows if they are others."""
        self.settings = settings
        if (now := json.loads(json.dumps(asdict(self.settings)))) != {
            key: value for key, value in self.history[-1].items() if key != "seen"
        }:
            self.history.append(dict(seen=self.seen, **now))

    def config(self) -> checkpoints.Config:
        """The network and its preconditioner as weight files record them."""
        given, patch, (low, high) = self.subject.network, self.subject.patch, self.subject.nsr_range
        own = {
            key: value for key, value in given.items() if key not in ("img_resolution", "in_channels", "out_channels")
        }
        image = {"img_resolution": patch * given["img_resolution"], "img_channels": given["in_channels"] // patch**2}
        levels = {"sigma_min": low, "sigma_max": high, "sigma_data": self.settings.sd}
        return checkpoints.Config("EDMPrecond", dict(model_type="SongUNet", patch=patch, **image, **levels, **own))

    def export(self, path: Path, which: int) -> None:
        """Writes average number `which` as a model of the package, float16."""
        denoiser = checkpoints.build(self.config(), name=self.subject.name)
        denoiser.model.load_state_dict(self.ema[which], strict=False)  # buffers (the resampling filter) are constants
        about = {
            "source": self.subject.source, "recipe": self.subject.recipe, "seen": self.seen,
            "seconds": round(self.seconds), "spent": {name: round(seconds) for name, seconds in self.spent.items()},
            "ema_half_life": self.settings.ema[which],
            "history": [past for past in self.history if past["seen"] < self.seen],
        }  # fmt: skip
        checkpoints.save(denoiser, path, dtype=torch.float16, about=about)


EVERY = 50
"""Steps between two looks at the loss, for which the host waits."""


def train(trainer: Trainer, data: Data, run: Path, *, save_every: float = 240.0, compiled: bool = False,
          dtype: torch.dtype = torch.float32,
          minutes: float = math.inf, fit: float | None = None) -> float:  # fmt: skip
    """Trains until `images` are seen, `minutes` are over or a signal comes; keeps run/state.safetensors and
    run/loss.csv.

    Args:
        fit: minutes; the length and the cool-down of the run are set to what is seen in that time, once the speed is
            known.
    Returns: images a second, of the steps after the first `EVERY`, which compile; NaN if there were no more.
    Raises: FloatingPointError if the loss or the weights are not finite; the state on disk is that of the last save.
    """
    loss = loss_of(trainer.network, trainer.settings.sd, dtype)
    loss = torch.compile(loss) if compiled else loss
    data, classes = data.on(trainer.device), trainer.subject.network["label_dim"]
    rows = [row for row in _read_rows(run / "loss.csv") if int(row[0]) <= trainer.seen]
    values: list[Tensor] = []
    clock, first = _Clock(trainer), trainer.group.first
    saved = time.monotonic()
    with (
        _signals() as stop,
        tqdm(total=trainer.settings.images, initial=trainer.seen, unit="img", mininterval=5, disable=not first) as bar,
    ):
        while trainer.seen < trainer.settings.images and not trainer.agreed(bool(stop) or clock.minutes >= minutes):
            batch = batch_at(data, classes, trainer.seen, trainer.settings, trainer.group)
            values.append(trainer.step(loss, batch))
            bar.update(trainer.settings.batch)
            if len(values) == EVERY:
                mean = torch.stack(values).mean().item()
                clock.look()
                if not math.isfinite(mean):
                    raise FloatingPointError(
                        f"The loss after {trainer.seen:,} images is {mean}. Go on from the last save with a lower --lr "
                        "or --clip."
                    )
                rows.append(
                    [
                        str(trainer.seen),
                        f"{trainer.seconds:.0f}",
                        f"{trainer.settings.rate(trainer.seen):.3g}",
                        f"{mean:.5f}",
                    ]
                )
                bar.set_postfix(loss=rows[-1][-1])
                values = []
                if fit is not None and trainer.agreed(clock.known):
                    bar.total, fit = clock.fit(fit), None
            if first and time.monotonic() - saved > save_every:
                clock.look()
                saved = _save(trainer, run, rows)
    clock.look()
    if first:
        _save(trainer, run, rows)
    return clock.rate


class _Clock:
    """What a training takes: seconds to the trainer's account, and its speed once nothing is compiled any more."""

    def __init__(self, trainer: Trainer):
        self.trainer, self.name, self.begun = trainer, name_of(trainer.device), time.monotonic()
        self.earlier = trainer.spent.get(self.name, 0.0)
        self.first: tuple[float, int] | None = None  # seconds and images of the first look
        self.last = (0.0, trainer.seen)

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.begun) / 60

    def look(self) -> None:
        """Called when the device has been waited for."""
        self.last = (time.monotonic() - self.begun, self.trainer.seen)
        self.first = self.first or self.last
        self.trainer.spent[self.name] = self.earlier + self.last[0]

    @property
    def known(self) -> bool:
        """Whether the speed is known well enough to plan by: ten seconds of it."""
        return self.first is not None and self.last[0] - self.first[0] > 10

    @property
    def rate(self) -> float:
        """Images a second."""
        if self.first is None or self.last == self.first:
            return math.nan
        return (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])

    def fit(self, minutes: float) -> int:
        """Settles the trainer on the images that `minutes` of this clock allow, less 3 %, the last 60 % of them cooling
        down; returns their number."""
        left = self.trainer.agreed(max(60 * minutes - self.last[0], 0) * self.rate * 0.97)
        images = self.trainer.seen + int(left) // self.trainer.settings.batch * self.trainer.settings.batch
        self.trainer.settle(replace(self.trainer.settings, images=images, cooldown=max(1, int(0.6 * images))))
        return images


def name_of(device: torch.device) -> str:
    """What a device is called in records: the card's name, or its kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list to which Ctrl-C and SIGTERM add themselves."""
    stop: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: stop.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save(trainer: Trainer, run: Path, rows: list[list[str]]) -> float:
    trainer.save(run / "state.safetensors")
    with (run / "loss.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["images", "seconds", "lr", "loss"], *rows])
    return time.monotonic()


def _read_rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))[1:] if path.exists() else []


def command(subject: Subject, defaults: Settings, read: Callable[[Path], Data], root: Path, doc: str | None) -> None:
    """A recipe's command line: `--run` and what decides the training.

    Args:
        read: the training set in the file or folder `--data`, by default `root`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the checkpoint and the loss curve")
    parser.add_argument("--data", type=Path, default=root, help="where the training set is; %(default)s unless given")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop (and save) after this time")
    parser.add_argument(
        "--fit",
        type=float,
        metavar="MINUTES",
        help="set --images and --cooldown to what this time allows, once the speed is known",
    )
    parser.add_argument("--device", help="cpu, cuda, mps; a GPU if there is one")
    parser.add_argument("--save-every", type=float, default=240.0, help="seconds between two saves")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 inside the network, no compilation")
    parser.add_argument("--channels", type=int, default=subject.network["model_channels"], help="model_channels")
    parser.add_argument(
        "--from", dest="start", type=Path, help="an exported file to go on from, where --run holds no state"
    )
    parser.add_argument(
        "--export",
        type=Path,
        help="write the averaged weights of --run to this file instead of training; with --fit, after it",
    )
    parser.add_argument("--average", type=int, default=0, help="which average to export")
    for name in ("seed", "images", "batch", "lr", "warmup", "cooldown", "p_mean", "p_std"):
        default = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    args = parser.parse_args()
    chosen = {name: value for name, value in vars(args).items() if name in Settings.__dataclass_fields__}
    subject = replace(subject, network=subject.network | {"model_channels": args.channels})
    with joined() as group:
        _run(Trainer(subject, replace(defaults, **chosen), args.device or best_device(group.local), group), args, read)


def _run(trainer: Trainer, args: argparse.Namespace, read: Callable[[Path], Data]) -> None:
    args.run.mkdir(parents=True, exist_ok=True)
    if (args.run / "state.safetensors").exists():
        trainer.load(args.run / "state.safetensors")
    elif args.start:
        trainer.start_from(args.start)
    if args.export and args.fit is None:
        trainer.export(args.export, args.average)
        return
    dtype = torch.float32 if args.float32 else torch.bfloat16
    fast = not args.float32
    how = {"save_every": args.save_every, "compiled": fast, "dtype": dtype, "minutes": args.minutes, "fit": args.fit}
    rate = train(trainer, read(args.data), args.run, **how)
    made = f"{str(dtype).removeprefix('torch.')}{', compiled' * fast}"
    if not trainer.group.first:
        return
    print(
        f"{trainer.seen:,} images seen in {trainer.seconds:.0f} s; {rate:,.0f} images/s on {name_of(trainer.device)} "
        f"({made})"
    )
    if args.export:
        trainer.export(args.export, args.average)


def best_device(local: int = 0) -> str:
    """A GPU if there is one: of several, the one of that number."""
    return f"cuda:{local}" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
