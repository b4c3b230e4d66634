"""What this package raises about what it was given: one sentence with the argument, its value, the rule and the way
out."""


class SeedsError(Exception):
    """The base of the package's own errors.

    Attributes:
        exit_code: what the command line ends with: 2, an argument is wrong; 1, something failed (a file, the disk, the
            model).
    """

    exit_code = 1


class InputError(SeedsError, ValueError):
    """An argument that cannot be right."""

    exit_code = 2


class TooFewCalls(InputError):
    """Model calls that allow no step."""
