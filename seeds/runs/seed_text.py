"""Lists of seeds as text: "0-63", "1,2,5-10"."""

import re
from collections.abc import Sequence
from itertools import pairwise

from seeds.errors import InputError

MOST = 10_000_000


def parse_seeds(text: str) -> list[int]:
    """The seeds in "0-63" or "1,2,5-10", in the order given; ranges hold both their ends.

    Raises: ValueError if the text is no such list, a range runs backwards, a seed is 2^64 or more, comes twice, or
        there are too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", part)
        if not match:
            raise InputError(
                f"`seeds` = {text!r} is no list of seeds. Give whole numbers from 0 on and ranges, such as 0-63 or "
                "1,2,5-10."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(
                f"`seeds` = {text!r}: the range {part.strip()} runs backwards and would be empty. Write {last}-{first}."
            )
        if last >= 1 << 64:
            raise InputError(f"`seeds` = {text!r}: {last} is too large. Seeds are below 2^64.")
        if len(seeds) + last - first >= MOST:
            raise InputError(f"`seeds` = {text!r} are more than {MOST:,} seeds. Cut the work into several runs.")
        seeds += range(first, last + 1)
    check_distinct(seeds)
    return seeds


def check_distinct(seeds: Sequence[int]) -> None:
    """Raises ValueError if a seed comes twice: each seed is one file."""
    if len(set(seeds)) < len(seeds):
        twice = next(b for a, b in pairwise(sorted(seeds)) if a == b)
        raise InputError(f"`seeds` has {twice} more than once, but each seed is one file. List it once.")


def show_seeds(seeds: Sequence[int]) -> str:
    """The shortest text that `parse_seeds` reads back as these seeds, in this order."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
