"""`python -m seeds`: the command line."""

import sys

from seeds.cli import main

if __name__ == "__main__":
    sys.exit(main())
