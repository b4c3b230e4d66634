"""Which network draws: what is recorded of it, and whether another is the same."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seeds.checking import refuse_random
from seeds.denoisers import ask, facts
from seeds.distributed import Group
from seeds.errors import InputError
from seeds.modules import modules, refuse_training
from seeds.noise import gaussian
from seeds.plans import Point
from seeds.schedules import schedule as find_schedule
from seeds.solvers.levels import points_at
from seeds.storage import hash_tensors

LEVELS = (0.2, 1.0, 5.0)
"""nsr at which a network is probed; those outside of what it was trained on are moved to its ends."""
PROBES, NUMBERS = 4, 4
"""States at each level, and what is kept of each answer."""
CLOSE, CLOSE_TO_WEIGHTS = 1e-3, 3e-2
"""How far answers of one network may be apart, beside their size: its arithmetic differs between machines, by more in
16 bits. Where the weights are known to be the same, the answers tell another reading of them only (its output, time or
range), which differs by far more."""


@dataclass(frozen=True)
class Identity:
    """What a network is known by.

    Attributes:
        weights: SHA-256 over the parameters and buffers of all modules that the denoiser and its decoder hold; "" if
            they hold none.
        answers: for each probe level, and for the decoder, the root mean square of the answers and `NUMBERS`
            projections of each.
    """

    weights: str
    answers: tuple[tuple[float | None, ...], ...]

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        denoiser: Any,
        *,
        decode: Any = None,
        levels: Sequence[Point] = (),
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "Identity":
        """Asks a denoiser of some `shape`: its weights are hashed, and it is probed once at each of `LEVELS`, and once
        more for half of the states.

        Args:
            decode: what makes images of its answers; its weights and answers count too.
            levels: where to probe instead: of a denoiser that has no schedule of its own.
        Raises: ValueError if the denoiser does not compute on `device`, answers half of a probe otherwise than the
            whole, or is in training mode.
        """
        for part in (denoiser, decode):
            refuse_training(part)
        points, device = levels or _levels(denoiser), torch.device(device)
        answers = [_answer(denoiser, at, dtype, device) for at in points]
        refuse_random(answers[-1], _answer(denoiser, points[-1], dtype, device, PROBES // 2))
        if decode is not None:
            answers.append(decode(answers[-1]))
        hashes = sorted(hash_tensors(_tensors(module)) for module in {*modules(denoiser), *modules(decode)})
        weights = hash_tensors({name: torch.empty(0) for name in hashes}) if len(hashes) > 1 else "".join(hashes)
        return cls(weights, tuple(map(_projections, answers)))

    def facts(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"weights_sha256": self.weights, "answers": [list(row) for row in self.answers]}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Identity":
        """What `facts` gave. Raises: ValueError if they are none."""
        try:
            return cls(str(facts["weights_sha256"]), tuple(tuple(row) for row in facts["answers"]))
        except (KeyError, TypeError) as error:
            why = f"`network` = {facts!r} of a record is no network: it needs `weights_sha256` and `answers`."
            raise InputError(why) from error

    def apart(self, other: "Identity") -> str:
        """In what another network differs from this one, in words; "" if it is the same."""
        if self.weights != other.weights:
            names = [f"weights {one.weights[:12]}" if one.weights else "no weights" for one in (self, other)]
            return f"another network: {names[0]}, now {names[1]}"
        same = len(self.answers) == len(other.answers)
        furthest = max(map(_apart, self.answers, other.answers), default=0.0) if same else math.inf
        if furthest <= (CLOSE_TO_WEIGHTS if self.weights else CLOSE):
            return ""
        size = f"by {furthest:.2g} of their size" if math.isfinite(furthest) else "in kind"
        return f"another network: its answers to fixed probes differ {size}"


def check_agreed(network: Identity, group: Group) -> None:
    """Raises: ValueError if this process has another network than the first."""
    first = group.once(network.facts)
    if words := Identity.from_facts(first).apart(network):
        raise InputError(
            f"The processes draw with different networks; process {group.rank} has {words}. Let the factory load its "
            "weights from a file, or seed them."
        )


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that are kept with them, by name."""
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def _levels(denoiser: Any) -> list[Point]:
    """`LEVELS` on the denoiser's own schedule, at levels that it knows."""
    known = facts(denoiser)
    path = find_schedule(denoiser.schedule if known.schedule is None else known.schedule)
    nsr = np.clip(LEVELS, *(known.nsr_range or (0.0, math.inf)))
    nsr = nsr if known.round_nsr is None else np.asarray(known.round_nsr(nsr))
    return points_at(path, path.t_of_nsr(nsr))


def _answer(denoiser: Any, at: Point, dtype: torch.dtype, device: torch.device, count: int = PROBES) -> Tensor:
    size = math.hypot(0.5 * at.alpha, at.sigma)
    x = gaussian(range(count), 0, denoiser.shape).mul_(size).to(device, dtype)
    classes = facts(denoiser).classes
    turns = [number * (classes - 1) // (PROBES - 1) for number in range(count)]
    labels = torch.tensor(turns, device=device) if classes else None
    try:
        answer = ask(denoiser, x, at, labels)
    except RuntimeError as error:
        if device.type == "cpu":
            raise
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"`device` = {str(device)!r}: the model does not compute there ({reason}). Let its factory take `device` "
            "and build it there, give it a method `to`, or ask for the device that it is on."
        ) from error
    if not isinstance(answer, Tensor) or answer.shape != x.shape:
        raise InputError(
            f"The model answered a state of shape {tuple(x.shape)} with {kind_of(answer)}. A denoiser's answer has the "
            "shape of x: see `seeds.wrap`."
        )
    return answer


def kind_of(answer: Any) -> str:
    """What an answer is, in words."""
    return f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"


def _projections(answers: Tensor) -> tuple[float | None, ...]:
    """Root mean square of (B, ...) answers, and of each its products with fixed signs, of that size too; None for what
    is not finite."""
    rows = answers.detach().to("cpu", torch.float64).flatten(1)
    signs = gaussian(range(NUMBERS), 1, (rows.shape[1],)).sign().double()
    numbers = [rows.square().mean().sqrt(), *(rows @ signs.T / math.sqrt(max(1, rows.shape[1]))).flatten()]
    return tuple(float(f"{float(number):.7g}") if math.isfinite(number) else None for number in numbers)


def _apart(old: Sequence[float | None], new: Sequence[float | None]) -> float:
    """The largest difference between two rows of `answers`, beside the larger root mean square; infinite if they are of
    two kinds."""
    if [value is None for value in old] != [value is None for value in new]:
        return math.inf
    a, b = (np.array([value for value in row if value is not None]) for row in (old, new))
    furthest = np.abs(a - b).max(initial=0.0)
    return float(furthest / max(abs(a[0]), abs(b[0]))) if furthest else 0.0
