"""Plans made wrong on purpose: a law that passes them all says nothing."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from seeds.plans import Plan, Row


class Entry(NamedTuple):
    """A coefficient of a plan: its row, its part ("x", "d" or "z") and its position in that list."""

    row: int
    part: str
    position: int


def with_row(plan: Plan, i: int, row: Row) -> Plan:
    """The plan with another row i."""
    return replace(plan, rows=(*plan.rows[:i], row, *plan.rows[i + 1 :]))


def places(plan: Plan) -> Iterator[Entry]:
    """Every coefficient of the plan, but those that are 0 to rounding."""
    for i, row in enumerate(plan.rows):
        largest = max(abs(value) for part in (row.x, row.d) for _, value in part)
        for part in "xdz":
            yield from (
                Entry(i, part, k) for k, (_, value) in enumerate(getattr(row, part)) if abs(value) > 1e-9 * largest
            )


def off(plan: Plan, place: Entry, factor: float = 1.01) -> Plan:
    """That coefficient, 1 % off."""
    row = plan.rows[place.row]
    pairs = list(getattr(row, place.part))
    j, value = pairs[place.position]
    pairs[place.position] = (j, value * factor)
    parts = {"x": row.x, "d": row.d, "z": row.z} | {place.part: tuple(pairs)}
    return with_row(plan, place.row, Row(row.at, parts["x"], parts["d"], parts["z"], row.completes))
