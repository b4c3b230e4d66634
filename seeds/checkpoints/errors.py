"""The one error of this package."""


class CheckpointError(ValueError):
    """A weight file is damaged, hostile, of another kind, or not what was asked for. Nothing of it was run; the message says what to do."""
