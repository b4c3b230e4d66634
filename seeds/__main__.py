"""`python -m seeds`, and `seeds`: the command line. Nothing is loaded before Ctrl-C is looked for."""

import os
import sys
from collections.abc import MutableMapping

SPINS = 10_000
"""How often a thread of torch looks for the others before it sleeps; GNU's OpenMP has 300,000. On cores of their own
they meet within so many, and beside busy processes none holds a core while it waits for one that has none:
docs/numbers.md, "Runs"."""


def spin_less(environment: MutableMapping[str, str]) -> None:
    """Sets GOMP_SPINCOUNT, which is read when torch is loaded, unless it or OMP_WAIT_POLICY is set."""
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", str(SPINS))


def main() -> int:
    """Runs the command line and returns the exit code."""
    try:
        spin_less(os.environ)
        from seeds.cli import main

        return main()
    except KeyboardInterrupt:  # while it was loaded
        sys.stderr.write("Error: Interrupted before anything was done.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
