r"""The arithmetic of every run: a Stepper takes any plan through its model calls, one at a time, and never sees a
schedule.

    stepper = Stepper(plan, x, noise)
    while not stepper.done:
        stepper.advance(model(stepper.x, stepper.at))

The loop belongs to whoever calls the model: `run` below, `seeds.iterate` and `seeds.sample` (labels, projections,
callbacks), or a host program.

Coefficients are Python floats, states keep the dtype and the device of `x`; nothing waits for the device, and nothing
depends on the data.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seeds.errors import InputError
from seeds.plans import Plan, Point, Terms, readers_of
from seeds.storage import replacing

Noise = Callable[[int], Tensor]
Scaled = Callable[[int, float], Tensor]


def combine(out: Tensor, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Writes sum_i weights[i] * tensors[i] into `out` and returns it: one pass per term, no temporary. `out` may be the
    first of the tensors."""
    if not tensors:
        return out.zero_()
    if out is not tensors[0] or weights[0] != 1:
        torch.mul(tensors[0], weights[0], out=out)
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        out.add_(tensor, alpha=weight)
    return out


def combined(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The sum of `combine`, of one tensor or more, as a new tensor through which gradients flow; the same numbers to
    the last bit."""
    out = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        out = out.add(tensor, alpha=weight)
    return out


TILE = 1 << 18
"""Elements worked on at a time on a CPU, so that the sum stays in its cache from one term to the next."""


def combine_in_tiles(out: Tensor, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """`combine`, tile by tile where that is faster; the same numbers to the last bit."""
    if (
        out.device.type != "cpu"
        or out.numel() <= 2 * TILE
        or not all(tensor.is_contiguous() for tensor in (out, *tensors))
    ):
        return combine(out, tensors, weights)
    for tile, *parts in zip(*(tensor.view(-1).split(TILE) for tensor in (out, *tensors)), strict=True):
        combine(tile, parts, weights)
    return out


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to, as far as torch counts: in a compiled graph, and in inference mode, it does
    not."""
    return 0 if torch.compiler.is_compiling() or tensor.is_inference() else tensor._version


class GradientError(InputError, RuntimeError):
    """A tensor asks for a gradient of a run that keeps none: an argument is missing (ValueError), which torch would say
    as a RuntimeError."""


class Stepper:
    """Runs a plan: read `x` and `at`, ask the model, `advance(denoised)`, until `done`; then `x` is the result.

    A Stepper is the only mutable thing of a run. It keeps a tensor only as long as a later row reads it, and makes new
    states in buffers it has finished with: clone `x` to keep it, or pass reuse=False. A `denoised` tensor must stay as
    it is until the Stepper has dropped it.

    Args:
        plan: what to run.
        x: (B, *shape) the state at `plan.start`; never written to.
        noise: draw index -> standard normal tensor like x; a pure function, asked once for each draw.
        reuse: make new states in freed buffers.
        scaled: (draw index, s) -> a new tensor of s times normal values, in the place of `noise` for a draw that one
            row alone reads, whose state is then made in it: two passes less over the state where noise comes scaled
            from its generator.
        grad: let gradients flow from the result to the answers, the draws and x: every state is a new tensor, and
            nothing is reused.
    Attributes:
        i: model calls made so far.
    Raises:
        ValueError: a denoised value or a draw does not have the shape, dtype and device of x, or was written over an
            earlier one; or it asks for a gradient, but `grad` is not set.
    """

    def __init__(
        self,
        plan: Plan,
        x: Tensor,
        noise: Noise,
        *,
        reuse: bool = True,
        scaled: Scaled | None = None,
        grad: bool = False,
    ):
        self._begin(plan, x, noise, reuse and not grad, grad, None if grad else scaled)
        self._check_gradient(x, "The state given")
        scale, z = plan.opening
        self._set_state(0, self._combine([x], [scale], (("z", z),)))
        self._drop(-1)

    def _begin(
        self, plan: Plan, like: Tensor, noise: Noise, reuse: bool, grad: bool = False, scaled: Scaled | None = None
    ) -> None:
        """What a new run and a resumed one have in common: nothing is held yet."""
        self.plan, self.i, self._noise, self._reuse, self._grad = plan, 0, noise, reuse, grad
        self._reads = plan.reads
        readers = readers_of(plan.opening, self._reads)
        self._last_reader = {key: rows[-1] for key, rows in readers.items()}
        self._read_once = {j for (part, j), rows in readers.items() if part == "z" and len(rows) == 1}
        self._scaled = scaled
        self._held: dict[tuple[str, int], Tensor] = {}
        self._pool: list[Tensor] = []
        self._like = (like.shape, like.dtype, like.device)
        self._ours: set[int] = set()

    @property
    def done(self) -> bool:
        """All model calls are made."""
        return self.i == self.plan.nfe

    @property
    def x(self) -> Tensor:
        """The newest state: what to ask the model about or, when done, the result."""
        return self._held["x", self.i]

    @property
    def at(self) -> Point:
        """The level of `x`."""
        return self.plan.end if self.done else self.plan.rows[self.i].at

    @property
    def completed(self) -> bool:
        """`x` is the end of a step (or the start), not a stage inside one."""
        return self.i == 0 or self.plan.rows[self.i - 1].completes

    @property
    def held(self) -> int:
        """State-sized tensors kept now: states, answers and draws that a later row reads, and freed buffers."""
        return len(self._held) + len(self._pool)

    def replace(self, x: Tensor) -> None:
        """Puts another tensor in the place of the newest state, as a projection does.

        Where that is a stage the step goes on from what it was: only the model is asked about the other. A stage that
        is written to in place is gone.
        """
        self._check(x, "The replacement of the state", "A projection returns the new state in the shape of x.")
        if not self.done and self._reads[self.i].m:
            self._held.setdefault(("m", self.i), self.x)
        self._set_state(self.i, (x, False))

    def advance(self, denoised: Tensor) -> None:
        """Takes the model's answer about `x` at `at` and makes the next state."""
        if self.done:
            raise InputError(
                f"The plan's {self.plan.nfe} model calls are all made; `x` is the result. Make a new Stepper for "
                "another run."
            )
        self._check(denoised, "The denoised value")
        i = self.i
        self._held["d", i] = self._guard(denoised)
        self._set_state(i + 1, self._combine([], [], tuple(zip("mxdz", self._reads[i], strict=True))))
        self.i += 1
        self._drop(i)

    def _combine(
        self, tensors: list[Tensor], weights: list[float], parts: Sequence[tuple[str, Terms]]
    ) -> tuple[Tensor, bool]:
        """The linear combination, and whether its tensor is ours to write to."""
        out = None
        for part, pairs in parts:
            for j, weight in pairs:
                if part == "z" and out is None and self._scaled is not None and j in self._read_once:
                    out = self._checked(j, self._scaled(j, weight))
                    continue
                if part == "z" and ("z", j) not in self._held:
                    self._held["z", j] = self._checked(j, self._noise(j))
                tensor = self._made(j) if part == "m" else self._held[part, j]
                if part == "x" and tensors and tensors[0] is tensor:  # the stage as it was made, and as it was asked
                    weights[0] += weight
                    continue
                tensors.append(tensor)
                weights.append(weight)
        if out is not None:
            return combine_in_tiles(out, [out, *tensors], [1.0, *weights]), True
        if weights == [1.0]:  # the state given, or the final denoise: x = D
            return tensors[0], False
        shape, dtype, device = self._like
        if self._grad and tensors:
            return combined(tensors, weights), False
        out = self._pool.pop() if self._pool else torch.empty(shape, dtype=dtype, device=device)
        return combine_in_tiles(out, tensors, weights), True

    def _made(self, j: int) -> Tensor:
        """State j as its row made it."""
        return self._held.get(("m", j), self._held["x", j])

    def _checked(self, j: int, draw: Tensor) -> Tensor:
        self._check(draw, f"Draw {j}", "`noise` returns a standard normal tensor like x.")
        return draw

    def _set_state(self, i: int, state: tuple[Tensor, bool]) -> None:
        self._held["x", i], ours = state
        self._asked = _version(state[0])
        (self._ours.add if ours else self._ours.discard)(i)

    def _drop(self, i: int) -> None:
        """Forgets what no row after i reads; the newest state stays."""
        for part, j in [key for key in self._held if self._last_reader.get(key, -1) <= i and key != ("x", self.i)]:
            tensor = self._held.pop((part, j))
            if (
                part == "x"
                and j in self._ours
                and self._reuse
                and not any(tensor is other for other in self._held.values())
            ):
                self._pool.append(tensor)

    def _check_gradient(self, value: Tensor, what: str) -> None:
        if not self._grad and value.requires_grad and torch.is_grad_enabled():
            raise GradientError(
                f"{what} asks for a gradient, but the Stepper keeps none: make it with Stepper(..., grad=True), or run "
                "the loop under torch.no_grad()."
            )

    def _check(self, value: Tensor, what: str, way: str = "A denoiser returns D(x, at) in the shape of x.") -> None:
        shape, dtype, device = self._like
        if not isinstance(value, Tensor):
            raise InputError(f"{what} is a {type(value).__name__}, not a tensor. {way}")
        if value.shape != shape:
            raise InputError(f"{what} has shape {tuple(value.shape)}, but the state has {tuple(shape)}. {way}")
        if value.dtype != dtype or value.device != device:
            raise InputError(
                f"{what} is {value.dtype} on {value.device}, but the state is {dtype} on {device}. Cast the answer "
                "back to the state's with `.to(x)`."
            )
        self._check_gradient(value, what)

    def _guard(self, denoised: Tensor) -> Tensor:
        """A model may answer with the tensor it was asked about (then a copy is kept), but not write into it, nor over
        an earlier answer."""
        # where nobody can look at memory: a model inside a graph writes into nothing that it is given
        if torch.compiler.is_compiling():
            return denoised.clone() if denoised is self.x else denoised
        if _version(self.x) != self._asked:
            raise InputError(
                f"The state was written to at call {self.i}, between `x` and `advance`: {self.plan.solver} still needs "
                "it as it was. Work on a copy, as `x = x.clone()`, where the model changes its input in place."
            )
        if denoised is self.x or denoised.untyped_storage()._cdata == self.x.untyped_storage()._cdata:
            return denoised.clone()
        for (part, j), answer in self._held.items():
            if part == "d" and answer.untyped_storage()._cdata == denoised.untyped_storage()._cdata:
                raise InputError(
                    f"The denoiser returned the same memory at calls {j} and {self.i}: its first answer is overwritten "
                    f"while {self.plan.solver} still needs it. Return a new tensor, as `denoised.clone()`."
                )
        return denoised

    def save(self, path: str | os.PathLike) -> None:
        """Writes the run as it stands to a safetensors file, atomically; `load` goes on from there, bit for bit."""
        tensors = {
            f"{kind}.{j}": tensor.detach().to("cpu", copy=True).contiguous()
            for (kind, j), tensor in self._held.items()
            if kind != "z"
        }
        with replacing(Path(path)) as part:
            save_file(
                tensors, part, metadata={"i": str(self.i), "config": self.plan.digest, "plan": self.plan.to_json()}
            )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        plan: Plan,
        noise: Noise,
        *,
        device: torch.device | str = "cpu",
        reuse: bool = True,
    ) -> "Stepper":
        """The run that `save` wrote, ready to go on.

        Raises: ValueError if the file was written by another plan, or is damaged.
        """
        metadata, tensors = _read(path, device)
        if metadata["config"] != plan.digest:
            raise InputError(
                f"{path} was written by another run (config {metadata['config'][:12]}, this plan has "
                f"{plan.digest[:12]}): solver, steps, schedule and every option must be the same. Resume with the plan "
                "that began it, or start anew."
            )
        stepper, i = cls.__new__(cls), metadata["i"]
        keys = {
            key
            for key, rows in readers_of(plan.opening, plan.reads).items()
            if key[0] != "z" and key[1] < i + (key[0] == "x") and rows[-1] >= i
        } | {("x", i)}
        if (
            not 0 <= i <= plan.nfe
            or set(tensors) - {("m", i)} != keys
            or len({(tensor.shape, tensor.dtype) for tensor in tensors.values()}) > 1
        ):
            raise InputError(
                f"{path} is damaged, or of an earlier version of seeds: it does not hold what {plan.solver} needs "
                f"after {i} of {plan.nfe} calls. Start anew."
            )
        stepper._begin(plan, tensors["x", i], noise, reuse)
        stepper.i, stepper._held = i, tensors
        stepper._ours = {j for part, j in tensors if part == "x"}
        stepper._asked = _version(stepper.x)
        return stepper


def _read(path: str | os.PathLike, device: torch.device | str) -> tuple[dict[str, Any], dict[tuple[str, int], Tensor]]:
    """What `save` wrote: its metadata, and the tensors held."""
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder, and no file of Stepper.save.")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata: dict[str, Any] = file.metadata() or {}
            if "config" in metadata:
                metadata["i"] = int(metadata["i"])
                return metadata, {(name[0], int(name[2:])): file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is damaged, or no file of Stepper.save: {str(error).splitlines()[0]}. Start anew."
        ) from error
    raise InputError(f"{path} holds no run: it was not written by Stepper.save.")


@torch.no_grad()
def run(plan: Plan, denoise: Callable[[Tensor, Point], Tensor], x: Tensor, noise: Noise) -> Tensor:
    """Runs a whole plan and returns the state at `plan.end`."""
    stepper = Stepper(plan, x, noise)
    while not stepper.done:
        stepper.advance(denoise(stepper.x, stepper.at))
    return stepper.x
