"""The one error of this package, and how it quotes what a file says: on one line, in ASCII, and never at length."""

from typing import Any

from seeds.errors import SeedsError

_MOST_OF_A_VALUE, _MOST_OF_A_REASON = 100, 300  # characters


class CheckpointError(SeedsError, ValueError):
    """A weight file is damaged, hostile, of another kind, or not what was asked for. Nothing of it was run; the message
    says what to do."""


class CheckpointWarning(UserWarning):
    """A weight file was read, but does not say all that its network computes; the message says what was assumed and how
    to check it."""


def shown(value: Any) -> str:
    """A value from a file, fit for an error message; a container, which may be endless, by its type."""
    if isinstance(value, str):
        value = brief(value, _MOST_OF_A_VALUE)
    return (
        brief(f"{value!a}", _MOST_OF_A_VALUE + 20)
        if isinstance(value, int | float | str | None)
        else f"of type {type(value).__name__}"
    )


def bare(text: str) -> str:
    """As `shown`, without the quotes."""
    return shown(text)[1:-1]


def reason(error: BaseException) -> str:
    """What an error of other code says, which may quote a file: its first line, without the full stop."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return brief(said.partition("\n")[0].rstrip("."), _MOST_OF_A_REASON)


def brief(text: str, most: int) -> str:
    """`text`, or its two ends if it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"
