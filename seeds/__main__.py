"""`python -m seeds`, and `seeds`: the command line. Nothing is loaded before Ctrl-C is looked for."""

import sys


def main() -> int:
    """Runs the command line and returns the exit code."""
    try:
        from seeds.cli import main

        return main()
    except KeyboardInterrupt:  # while it was loaded
        sys.stderr.write("Error: Interrupted before anything was done.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
