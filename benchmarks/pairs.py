"""How far two lines of studies are apart in pairs of seeds, at other numbers of calls too, or of two studies.

    python -m benchmarks.pairs docs/curves/best-unet auto 6 docs/curves/seeds-unet seeds-3 30
    python -m benchmarks.pairs docs/curves/emoji auto 10 docs/curves/emoji dpmpp-2m-sde 10

For each a study, a line and a number of calls, of which its last point with at most so many counts. Both must have
drawn the same seeds. Prints both squared Frechet distances and their difference, with 95 % intervals.
"""

import argparse
from pathlib import Path

from seeds.errors import InputError
from seeds.metrics.estimate import difference
from seeds.report.points import CurvePoint, curves
from seeds.runs.measuring import read_study


def point(study: Path, line: str, calls: int) -> tuple[CurvePoint, list[str]]:
    """The last point of a line with at most so many calls, and the seeds. Raises: ValueError if there is none."""
    record = read_study(study)
    found = [point for point in curves(record, "frechet").get(line, []) if point.nfe <= calls]
    if not found:
        raise InputError(f"{study} has no line {line!r} with at most {calls} calls.")
    return found[-1], record["study"]["seeds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for side in ("one", "other"):
        parser.add_argument(f"{side}_study", type=Path)
        parser.add_argument(f"{side}_line")
        parser.add_argument(f"{side}_calls", type=int)
    given = parser.parse_args()
    one, seeds = point(given.one_study, given.one_line, given.one_calls)
    other, others = point(given.other_study, given.other_line, given.other_calls)
    if seeds != others:
        raise InputError(f"{given.one_study} and {given.other_study} drew other seeds, so they make no pairs.")
    for line, it in ((given.one_line, one), (given.other_line, other)):
        print(f"{line} at {it.nfe}: {it.estimate.value:.4f} [{it.estimate.low:.4f}, {it.estimate.high:.4f}]")
    apart = difference(one.estimate, other.estimate)
    print(f"difference: {apart.value:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}]")


if __name__ == "__main__":
    main()
