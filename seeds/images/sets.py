"""Readers of image sets: a folder, a zip, an npz of `arr_0`, an IDX file. uint8 in, uint8 out, nothing resized, one
clear error each."""

import gzip
import io
import math
import os
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from seeds.errors import InputError, SeedsError
from seeds.images.archives import DEFLATE, arrays, member, read_header
from seeds.names import some
from seeds.storage import digest, hash_file, special


class ImageError(SeedsError, ValueError):
    """Images cannot be read: the sentence names the file, what is wrong with it, and the way out."""


Key = TypeVar("Key", str, int)
"""Where an image is: its name in a folder or a zip, its number in an npz."""

Records = Iterator[tuple[str, Callable[[], np.ndarray]]]
"""(name, a function that gives the uint8 array (H, W, C))."""

Opener = Callable[[], AbstractContextManager[Callable[[str], BinaryIO]]]
"""Opens a folder or a zip: gives what opens a file of it by its name."""

OpenArray = tuple[Any, tuple[int, ...]]
"""A file that stands at the first image of an array, and the array's shape (N, H, W[, C])."""


class Piece(NamedTuple):
    """Images (B, H, W, C), uint8, and the place of the first of them in the whole set."""

    first: int
    images: np.ndarray


@dataclass(frozen=True)
class ImageSet:
    """A set of images in a fixed order, read as a stream.

    Attributes:
        path: where they are.
        count: how many there are.
        read: starts a pass; yields (name, a function that gives the uint8 array (H, W, C)).
        files: of a folder or a zip, the images' paths in it.
    """

    path: Path
    count: int
    read: Callable[[], Records]
    files: Sequence[str] = ()

    def batches(self, size: int = 64, num: int | None = None) -> Iterator[np.ndarray]:
        """uint8 arrays (B, H, W, C) of `size` images, the last one smaller, in order; of the first `num` images only,
        if given. Raises: as `pieces`."""
        return (images for _, images in self.pieces(size, num))

    def pieces(
        self, size: int = 64, num: int | None = None, owns: Callable[[int], bool] = lambda number: True
    ) -> Iterator[Piece]:
        """The same, with the place of each batch's first image; only batches whose number `owns` says yes to are looked
        at, and the first image.

        Raises: ImageError for num beyond the set, images of different shapes, a file that cannot be read, or fewer
            images than there were; the file is named.
        """
        wanted = self.count if num is None else num
        if not 1 <= wanted <= self.count or size < 1:
            raise ImageError(
                f"`num` = {wanted} images in batches of {size} were asked of {self.path}, which holds {self.count}."
            )
        records = islice(self.read(), None if wanted == self.count else wanted)  # a whole set is read to its end
        seen, shape = 0, None
        for number, batch in groupby(enumerate(records), key=lambda record: record[0] // size):
            own, images = owns(number), []
            for i, (name, load) in batch:
                # the first image gives the shape of all: a set is taken or refused by any number of processes alike
                if own or i == 0:
                    images.append(load())
                    shape = shape or images[0].shape
                    if images[-1].shape != shape:
                        raise ImageError(
                            f"{name} has shape {images[-1].shape} (H, W, C), the first image {shape}. Make them alike "
                            "first."
                        )
                seen = i + 1
            if own:
                yield Piece(number * size, np.stack(images))
        if seen < wanted:
            raise ImageError(
                f"{self.path} ended after {seen} of {wanted} images. Was it changed meanwhile? Start again."
            )


def open_images(path: str | Path, seeds: Sequence[int] | None = None) -> ImageSet:
    """The images at `path`, in a fixed order. The content decides what it is.

    - a folder, read recursively, or a zip: every file whose ending Pillow knows, sorted by relative path, names that
      are numbers by their number; modes L, 1 channel, and RGB, 3. The grid.png of a run is none of its images, and
      hidden files and folders (.name) hold none. Links are followed;
    - an npz: the array `arr_0`, uint8, (N, H, W, C) or (N, H, W), what ADM's evaluator reads; streamed, never whole in
      memory;
    - an IDX file, gzipped or not: uint8 (N, H, W), the format of MNIST and Fashion-MNIST.

    Args:
        seeds: the images of these seeds only, in this order: files named by their seed (000042.png), or an npz that
            says its `seeds`, which must hold them in this order.
    Raises: ImageError that names the file if there is nothing there, or nothing of these kinds, or it is damaged, or an
        image is missing, or there are two of one seed.
    """
    path = Path(path)
    if path.is_dir():
        names = (file.relative_to(path).as_posix() for file in _files(path))
        found = _named(path, names, lambda: nullcontext(lambda name: _opened(path / name)), seeds)
    else:
        with _reading(path), _opened(path) as file:
            head = file.read(4)
        if head[:2] == b"PK":
            with _reading(path), zipfile.ZipFile(path) as archive:
                members = [name for name in archive.namelist() if not name.endswith("/")]
            named = not any(name.endswith(".npy") for name in members)
            found = _named(path, members, partial(_zipped, path), seeds) if named else _npz(path, members, seeds)
        elif seeds is not None:
            raise ImageError(f"{path} does not say which image is of which seed. Leave `seeds` out and give `num`.")
        elif head[:2] == b"\x1f\x8b" or head[:3] == b"\0\0\x08":
            found = _array(path, partial(_idx, path), range)
        else:
            raise ImageError(
                f"{path} holds no images that can be read here: give a folder, a zip, an npz with uint8 `arr_0`, or an "
                "IDX file."
            )
    if not found.count:
        raise ImageError(
            f"{path} holds no images: no file in it has an ending that Pillow knows, or its array is empty."
        )
    return found


def fingerprint(images: ImageSet) -> str:
    """SHA-256 of the file that holds a set of images; of a folder, `storage.digest` over its images."""
    if images.path.is_dir():
        return digest(images.path, images.files)
    return hash_file(images.path)


def _opened(path: Path) -> BinaryIO:
    if special(path):
        raise InputError("it is a pipe, a socket or a device, and no file")
    return path.open("rb")


def _named(path: Path, names: Iterable[str], opened: Opener, seeds: Sequence[int] | None) -> ImageSet:
    """The images among the files of a folder or a zip."""
    names = _image_names(names)
    if seeds is not None:
        stems = ((PurePosixPath(name).stem, name) for name in names)
        names = _by_seed(path, ((int(stem), name) for stem, name in stems if stem.isdecimal()), seeds)

    def load(opening: Callable[[str], BinaryIO], name: str) -> np.ndarray:
        with _reading(f"{path}/{name}"), opening(name) as file:
            return _decode(file)

    def read() -> Records:
        with opened() as opening:
            for name in names:
                yield f"{path}/{name}", partial(load, opening, name)

    return ImageSet(path, len(names), read, names)


def _files(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """The files in a folder and below, none of them hidden; links are followed, but not into a folder that they lie in
    (`above`)."""
    with _reading(folder):
        entries, status = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")], folder.stat()
    here = (status.st_dev, status.st_ino)
    for entry in entries if here not in above else ():
        path = folder / entry.name
        with _reading(path):
            deeper = entry.is_dir()
        if deeper:
            yield from _files(path, (*above, here))
        else:  # a pipe, or a link that leads nowhere, is an image that cannot be read
            yield path


@contextmanager
def _zipped(path: Path) -> Iterator[Callable[[str], BinaryIO]]:
    with zipfile.ZipFile(path) as archive:
        yield lambda name: io.BytesIO(member(archive, name))


def _by_seed(path: Path, pairs: Iterable[tuple[int, Key]], seeds: Sequence[int]) -> list[Key]:
    """The places of the images of `seeds`, in their order, of all (seed, place) that are held."""
    wanted, places = set(seeds), dict[int, Key]()
    for seed, place in pairs:
        if seed in wanted and seed in places:
            raise ImageError(
                f"{path} holds two images of seed {seed}: {places[seed]} and {place}. Give the images of one run."
            )
        places[seed] = place
    missing = [seed for seed in seeds if seed not in places]
    if missing:
        raise ImageError(
            f"{path} holds no image of {len(missing)} of {len(seeds)} `seeds`; the first is {missing[0]}. `seeds "
            "sample` draws them."
        )
    return [places[seed] for seed in seeds]


def _npz(path: Path, members: list[str], seeds: Sequence[int] | None) -> ImageSet:
    if "arr_0.npy" not in members:
        raise ImageError(
            f"{path} holds {some(sorted(members))}, but no `arr_0`, where the images should be (uint8, (N, H, W, C))."
        )

    @contextmanager
    def opened() -> Iterator[OpenArray]:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as file:
            header = read_header(archive, archive.getinfo("arr_0.npy"), file)
            if header.dtype != np.uint8 or len(header.shape) not in (3, 4) or header.fortran:
                raise InputError(
                    f"`arr_0` is {header.dtype} {header.shape}, but must be uint8 (N, H, W, C) or (N, H, W) in C order"
                )
            yield file, header.shape

    return _array(
        path, opened, lambda count: _places(path, members, seeds, count) if seeds is not None else range(count)
    )


def _places(path: Path, members: list[str], seeds: Sequence[int], count: int) -> list[int]:
    """Where in an npz the seeds' images are."""
    if "seeds.npy" not in members:
        raise ImageError(
            f"{path} does not say which image is of which seed (it holds no `seeds`). Leave `seeds` out and give `num`."
        )
    with _reading(path), zipfile.ZipFile(path) as archive:
        numbers = arrays(archive, {"seeds"})["seeds"].ravel().tolist()
    if len(numbers) != count:
        raise ImageError(
            f"{path} holds {len(numbers)} `seeds` of {count} images in `arr_0`, so which is whose is unknown. Draw "
            "them anew."
        )
    places = _by_seed(path, ((seed, place) for place, seed in enumerate(numbers)), seeds)
    if places != sorted(places):
        raise ImageError(
            f"{path} holds the images of `seeds` in another order, and is read from front to back. List them in its "
            "order."
        )
    return places


@contextmanager
def _idx(path: Path) -> Iterator[OpenArray]:
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.open(raw) if zipped else raw as file:
            magic, dims = struct.unpack(">HBB", file.read(4))[1:]
            if magic != 8 or dims != 3:
                raise InputError(
                    f"its IDX header says {dims} dimensions of type {magic:#x}; images are 3 of uint8 (0x8), labels 1"
                )
            count, *size = struct.unpack(">3I", file.read(12))
            there = path.stat().st_size
            if count * math.prod(size) > there * (DEFLATE if zipped else 1):
                raise InputError(
                    f"its header says {count:,} images of {size[0]} x {size[1]}, but it has {there:,} bytes"
                )
            yield file, (count, *size)


def _array(
    path: Path, opened: Callable[[], AbstractContextManager[OpenArray]], places: Callable[[int], Sequence[int]]
) -> ImageSet:
    """The images of one array, read from front to back; `places` are those that are meant, of so many."""
    with _reading(path), opened() as (_, (count, *size)):
        if min(size) < 1:
            raise InputError(f"its images have shape {tuple(size)}, which holds no pixel")
    meant = places(count)
    chosen, pixels = set(meant), (*size, 1)[:3]

    def read() -> Records:
        with ExitStack() as stack:
            with _reading(path):
                file, _ = stack.enter_context(opened())
            for i in range(count):
                with _reading(f"{path}, image {i}"):
                    if len(data := file.read(math.prod(pixels))) < math.prod(pixels):
                        raise EOFError(f"it ends there, {count} images were promised")
                if i in chosen:
                    yield f"{path}, image {i}", partial(np.reshape, np.frombuffer(data, np.uint8), pixels)
            with _reading(path):
                file.read()  # to the end, where archives keep their checksum

    return ImageSet(path, len(meant), read)


def _decode(file) -> np.ndarray:
    try:
        opened = Image.open(file)
    except UnidentifiedImageError:  # whose message names the buffer
        raise InputError("it is damaged, or no image that Pillow knows") from None
    with opened as image:
        if image.mode not in ("L", "RGB"):
            raise InputError(f"its mode is {image.mode}, only L (grey) and RGB are taken as they are; convert it first")
        if any(_cut(tile[0], tile[3]) for tile in image.tile):
            raise InputError(
                "its pixels have more than 8 bits a channel, only 8 are taken as they are; convert it first"
            )
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise InputError(f"it holds {frames} frames, but one image is wanted of each file; split it first")
        array = np.asarray(image)
    return array.reshape(*array.shape[:2], -1)


def _cut(codec: str, args) -> bool:
    """Whether Pillow would make pixels of more than 8 bits a channel into ones of 8."""
    return ";16" in str(args) or codec == "SGI16" or (codec.startswith("ppm") and args[-1] > 255)


def _image_names(names: Iterable[str]) -> list[str]:
    """The images among the files of a folder or a zip, named by their path in it, in order; none hidden, nor the grid
    of a run."""
    known, paths = Image.registered_extensions(), {name: PurePosixPath(name) for name in names}  # ./a.png is a.png
    files = set(paths.values())

    def wanted(path: PurePosixPath) -> bool:
        grid = path.name == "grid.png" and path.with_name("run.json") in files
        return path.suffix.lower() in known and not any(part.startswith(".") for part in path.parts) and not grid

    return sorted((name for name, path in paths.items() if wanted(path)), key=lambda name: _order(str(paths[name])))


def _order(name: str) -> tuple[str, str]:
    """By this paths are sorted: as text, but a folder or a file that is called by a number (1000000.png) by the
    number."""
    return re.sub(r"(?<![^/])\d+(?=[./])", lambda number: number[0].zfill(20), name), name


@contextmanager
def _reading(what: str | Path):
    """Whatever goes wrong while reading comes out as one sentence that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except FileNotFoundError:
        raise ImageError(f"{what} does not exist.") from None
    except Exception as error:  # a damaged file may break any reader in any way
        reason = str(error).rstrip(".") or type(error).__name__
        raise ImageError(
            f"{what} cannot be read: {reason}. Replace it or take it away; no result was formed."
        ) from error
