"""Images: pixels and sets of them. uint8 in, uint8 out, nothing resized.

- `pixels`: from values to pixels and back, PNG files, the grid of many images;
- `sets`: readers of folders, zips, npz and IDX files; `archives`: what zips and arrays from elsewhere promise, held
against their bytes.
"""

from seeds.images.pixels import DATA_RANGE, from_uint8, grid, png, read_png, to_uint8, whole_png
from seeds.images.sets import ImageError, ImageSet, Piece, fingerprint, open_images

__all__ = [
    "DATA_RANGE",
    "ImageError",
    "ImageSet",
    "Piece",
    "fingerprint",
    "from_uint8",
    "grid",
    "open_images",
    "png",
    "read_png",
    "to_uint8",
    "whole_png",
]
