"""The fixtures of this folder."""

from devices import pretended

__all__ = ["pretended"]
