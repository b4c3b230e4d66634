"""Drawings from npm packages: the archives, whose SHA-256 and licence are checked, their SVG as 32 x 32 images, and the
file that these are kept in.

`render` needs `pip install resvg_py`; `archive` calls npm for what is not in its folder.
"""

import argparse
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

SIZE = 32


class Package(NamedTuple):
    """An npm package: version, SHA-256 of its archive, licence as the package itself states it, whose work it is."""

    version: str
    sha256: str
    licence: str
    owner: str


def packages(table: str) -> dict[str, Package]:
    """Packages by name, of lines "name version sha256 licence owner"."""
    return {name: Package(*rest) for name, *rest in map(str.split, table.strip().splitlines())}


def archive(name: str, package: Package, folder: Path) -> Path:
    """The package's archive in `folder`, fetched if it is not there.

    Raises: ValueError if its SHA-256 is another, or if the package states another licence.
    """
    path = folder / f"{name.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pack = ["npm", "pack", "--silent", f"{name}@{package.version}"]
        subprocess.run(pack, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise ValueError(
            f"{path} is not the archive that the recipe was written for; delete it, and it is fetched again."
        )
    stated = member(path, "package.json").get("license")
    if stated != package.licence:
        raise ValueError(f"{name} states the licence {stated}, not {package.licence}.")
    return path


def member(path: Path, name: str) -> dict:
    """The JSON file package/`name` of an archive; {} if there is none."""
    with tarfile.open(path) as file:
        found = [it for it in file.getnames() if it == f"package/{name}"]
        return json.load(file.extractfile(found[0])) if found else {}  # type: ignore[arg-type]


def framed(icons: dict, icon: str) -> str:
    """The icon as an SVG of 64 x 64 pixels, in the middle, cut at its own edges."""
    drawing, side = icons["icons"][icon], 2 * SIZE
    width, height = (drawing.get(it, icons.get(it, 16)) for it in ("width", "height"))
    w, h = side * width / max(width, height), side * height / max(width, height)
    place = f'x="{(side - w) / 2:g}" y="{(side - h) / 2:g}" width="{w:g}" height="{h:g}" viewBox="0 0 {width} {height}"'
    outer = f'xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}"'
    return f"<svg {outer}><svg {place}>{drawing['body']}</svg></svg>"


def render(svg: str) -> np.ndarray:
    """(3, 32, 32) uint8: the drawing on white, each pixel the mean of 2 x 2."""
    import resvg_py
    from PIL import Image

    big = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff")))
    pixels = np.asarray(big.convert("RGB"), np.uint16).reshape(SIZE, 2, SIZE, 2, 3).sum((1, 3))
    return ((pixels + 2) // 4).astype(np.uint8).transpose(2, 0, 1)


def digest(data: dict[str, np.ndarray]) -> str:
    """SHA-256 of the bytes of `images`."""
    return hashlib.sha256(data["images"].tobytes()).hexdigest()


def kept(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """The arrays of a data file. Raises: ValueError if the images are not those of the recipe."""
    with np.load(path) as file:
        data = dict(file)
    if digest(data) != sha256:
        raise ValueError(f"{path} does not hold the images of the recipe (SHA-256 {sha256}).")
    return data


def command(
    build: Callable[[Path], dict[str, np.ndarray]],
    told: Callable[[dict[str, np.ndarray]], str],
    root: Path,
    doc: str | None,
) -> None:
    """A recipe's command line: builds the data from a folder of archives, writes them, and says what is `told` of
    them."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="folder of the archives; missing ones are fetched")
    parser.add_argument("--out", type=Path, default=root, help="the file to write")
    args = parser.parse_args()
    data = build(args.packages)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **data)
    print(f"{told(data)}, SHA-256 {digest(data)}")
