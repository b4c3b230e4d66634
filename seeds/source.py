"""The noise of a run: which draws a plan needs, made ahead of need, or on the device, or by a function of the
caller's."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seeds import noise as noises
from seeds.errors import InputError
from seeds.plans import Plan

NoiseLike = str | Callable[..., Tensor]


class Unit(NamedTuple):
    """Samples that run together: their plan, which of the run's rows they are, and their seeds and parts."""

    plan: Plan
    rows: slice | list[int]
    seeds: list[int]
    parts: list[int]


def keyed(
    plan: Plan,
    order: Iterable[int],
    seeds: Sequence[int],
    parts: noises.Seeds,
    shape: Sequence[int],
    maker: torch.device | None,
    kind: noises.NamedNoise = noises.gaussian,
) -> Callable[[int], Tensor]:
    """The draws of a plan by their index, each a function of (seed, draw, part): -1 the initial one, from 0 on the
    plan's own, -2 - k a projection's after call k.

    Args:
        order: in which they will be needed.
        maker: the device that makes them, see `noise.maker`; None: the CPU.
    """

    def place(j: int) -> noises.Place:
        if j < -1:  # noise of the forward process, gaussian whatever the solver's is
            return noises.Place(noises.gaussian, -1 - j + plan.before.calls, noises.INITIAL)
        if j == -1:
            return noises.Place(kind, -1, noises.INITIAL)
        stream = noises.CHURN if plan.draws[j].stream == "churn" else noises.PATH
        return noises.Place(kind, j + plan.before.draws, stream)

    def own(j: int) -> Tensor:
        named, draw, stream = place(j)
        return named(seeds, draw, shape, stream, parts)

    return noises.Together(place, order, seeds, parts, shape, maker) if maker else own


class Source:
    """Where the draws of a run come from.

    Args:
        noise: a name, or a function of the caller's, see `sample`.
        where: `noise_device` of `sample`.
        shape: of one sample.
        seeds: of the whole run.
        dtype, device: of the draws.
        from_noise: whether a run starts with a draw, number -1.
        projects: whether each completed step has a draw of its own, -2 - k after call k.
    """

    def __init__(
        self,
        noise: NoiseLike,
        where: str,
        *,
        shape: tuple[int, ...],
        seeds: list[int],
        dtype: torch.dtype,
        device: torch.device,
        from_noise: bool,
        projects: bool,
    ):
        self.noise, self.given_noise = noises.noise(noise), callable(noise)
        self.shape, self.seeds, self.dtype, self.device, self.from_noise, self.projects = (
            shape,
            seeds,
            dtype,
            device,
            from_noise,
            projects,
        )
        self.told, self.asked = _keywords(noise) if callable(noise) else set(), dict[int, Tensor]()
        self.maker = noises.maker(where, device)

    def draws(self, unit: Unit) -> noises.Ahead:
        """Draws of one batch, made ahead of need; those of a caller's own function, and of a device, are made when
        needed, in the caller's thread."""
        plan, _, seeds, parts = unit

        order = [] if self.given_noise else self._order(plan)
        if self.given_noise:
            make: Callable[[int], Tensor] = partial(self._given, unit)
        else:
            make = keyed(plan, order, seeds, parts, self.shape, self.maker, self.noise)
        return noises.Ahead(make, [] if self.maker else order, device=self.device, dtype=self.dtype)

    def _given(self, unit: Unit, j: int) -> Tensor:
        """Draw j of the caller's own function."""
        plan, shape = unit.plan, (len(unit.seeds), *self.shape)
        if j >= 0:
            number, (lam0, lam1, _) = j + plan.before.draws, plan.draws[j]
        else:
            number = j if j == -1 else j - plan.before.calls
            lam0 = lam1 = plan.start.lam if j == -1 else plan.points()[-1 - j].lam
        told = {"seeds": tuple(unit.seeds), "part": tuple(unit.parts)}
        made = self.noise(number, lam0, lam1, shape, **{name: told[name] for name in self.told})
        if not isinstance(made, Tensor) or made.shape != shape:
            what = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"type {type(made).__name__}"
            raise InputError(
                f"`noise` returned {what} for draw {number}, but must return a tensor of the shape it is given, "
                f"{shape}."
            )
        if "seeds" not in self.told:
            self._check_other(unit, number, made)
        return made

    def _check_other(self, unit: Unit, number: int, made: Tensor) -> None:
        """The first draw of each batch is not that of an earlier one, where the function is not told for whom it
        draws."""
        earlier = self.asked.get(number)
        if unit.seeds[0] == self.seeds[0] or earlier is None:
            self.asked.setdefault(number, made.detach().clone() if len(unit.seeds) < len(self.seeds) else made[:0])
        elif len(earlier) and torch.equal(earlier[: len(made)].to(made), made[: len(earlier)]):
            raise InputError(
                f"`noise` returned the same draw {number} for two batches: images of other seeds would be alike. Let "
                "it take the seeds that it draws for, as noise(draw, lam0, lam1, shape, seeds), or leave `batch` out."
            )

    def _order(self, plan: Plan) -> list[int]:
        """The draws in the order of need: the initial one, then the plan's; a projection's own each after its step."""
        order = [-1] if self.from_noise else []
        order += [j for j, _ in plan.opening.z]
        for i, row in enumerate(plan.rows):
            order += [j for j, _ in row.z if j not in order]
            if self.projects and row.completes:
                order.append(-2 - i)
        return order


def _keywords(noise: Callable[..., Any]) -> set[str]:
    """Which of `seeds` and `part` a noise function takes."""
    try:
        parameters = inspect.signature(noise).parameters.values()
    except (TypeError, ValueError):  # a builtin may not say
        return set()
    return {
        name for name in ("seeds", "part") if any(it.kind == it.VAR_KEYWORD or it.name == name for it in parameters)
    }
