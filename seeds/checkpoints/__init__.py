"""Weight files: `load`, `save`, `convert`, `info`, `build`, `bundled`. The only part of the package that opens weights;
pickles are never run."""

from seeds.checkpoints.building import Config, build, fill
from seeds.checkpoints.errors import CheckpointError, CheckpointWarning
from seeds.checkpoints.files import bundled, convert, info, load, save

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "Config",
    "build",
    "bundled",
    "convert",
    "fill",
    "info",
    "load",
    "save",
]
