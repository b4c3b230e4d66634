"""How lines look, on paper and on the page: a colour, a marker, a dash."""

import math
from typing import NamedTuple

LIGHT = ("#0043b7", "#a62809", "#228756", "#792e80", "#b39100", "#1b98ff", "#6a172a", "#66616d")
DARK = ("#5a8bfe", "#ff8f4a", "#2dc98b", "#dd86d8", "#ebeb44", "#a0f0ff", "#99718f", "#b8b3bc")
"""Eight colours for white and eight for a dark page: 3:1 or more on it, and 20 or more apart in Lab for every common
colour blindness."""


def _regular(
    corners: int, turn: float = 0.0, inner: float | None = None, size: float = 1.0
) -> tuple[tuple[float, float], ...]:
    """A polygon or, with `inner`, a star; the first corner is up, x to the right, y up."""
    radii = (size,) if inner is None else (size, size * inner)
    angles = [math.pi / 2 + turn + 2 * math.pi * k / (corners * len(radii)) for k in range(corners * len(radii))]
    return tuple(
        (round(radii[k % len(radii)] * math.cos(a), 4), round(radii[k % len(radii)] * math.sin(a), 4))
        for k, a in enumerate(angles)
    )


MARKERS = (
    _regular(32, size=0.92),  # disc
    _regular(4, math.pi / 4, size=1.15),  # square
    _regular(3, size=1.25),  # triangle
    _regular(4, size=1.25),  # diamond
    _regular(3, math.pi, size=1.25),  # triangle, point down
    _regular(4, math.pi / 4, inner=0.42, size=1.45),  # cross
    _regular(5, inner=0.45, size=1.4),  # star
    _regular(6, math.pi / 6, size=1.1),  # hexagon
)
"""Corners of each marker, of about equal area, around (0, 0)."""

DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2.5), (2, 2), (8, 2, 2, 2))


class Look(NamedTuple):
    """Indices into LIGHT and DARK, MARKERS, DASHES."""

    colour: int
    marker: int
    dash: int


def look(line: int) -> Look:
    """The look of the line of that number: the first eight differ in colour and marker, later ones in marker and dash
    as well."""
    turn = line // len(LIGHT)
    return Look(line % len(LIGHT), (line + turn) % len(MARKERS), turn % len(DASHES))
