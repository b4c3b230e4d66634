"""Icons as 32 x 32 grey images: black on white, from seven npm packages, kept in `recipes/data/icons32.npz`.

    pip install resvg_py && python -m recipes.icons --packages DIR            # writes that file anew; needs npm

Rendered as emoji are (`recipes.packages`). Its class is the package that an icon is from, so classes are styles: thin
lines, thick lines, solid shapes. Icons that are not square, that their package hides, or that are drawn before are left
out. Licences: `recipes/data/icons32.md`.
"""

import hashlib
from pathlib import Path

import numpy as np

from recipes.packages import SIZE, archive, command, kept, member, packages, render
from recipes.training import Data

ROOT = Path(__file__).parent / "data" / "icons32.npz"
NETWORK, JUDGE, STATISTICS = map(ROOT.with_name, ("icon_unet.safetensors", "icon_features.safetensors", "icons.npz"))
SHA256 = "67d951fcc2fcbfccbb41ed49d2a55d6daf770e545667475758f54fb4ec650fc9"  # of the bytes of `images`
SOURCE = "icons of seven npm packages, MIT, Apache-2.0 and ISC: recipes/data/icons32.md"
_TABLE = """
@iconify-json/mdi    1.2.3   ddd817a7213f91de51147943915c0cda8c8b818a53c92b5c068cfa9883c6d7ac Apache-2.0 Pictogrammers
@iconify-json/tabler 1.2.41  3bf99af156d28d05568aff524a35ed1ba238df640a7835a5e02e1f8e439685f6 MIT        Kuna
@iconify-json/ph     1.2.2   e3a582a047d9829fc7e8842c660d8065e598d1b68bb58cb68e75a1f1e5a614cc MIT        Phosphor
@iconify-json/ri     1.2.10  f7ab45281b250fb0bfa5c5438fc334f010cbf695f5ac851b90b296ef4674fb07 Apache-2.0 Remix
@iconify-json/lucide 1.2.137 e74db8c3a55fff55bc82de21268c4bced9f65ff10aacc0d5f3a395b0e93243c3 ISC        Lucide
@iconify-json/bi     1.2.7   86a7f213711c929169dbcd64318cd678a0845385156fc707401ba07cbde4da0d MIT        Bootstrap
@iconify-json/carbon 1.2.29  8e3059dc90933875439c29ff36ae4370767bc02d8beca6923b1f2bb856cf327a Apache-2.0 IBM
"""
MAKERS = packages(_TABLE)
CLASSES = tuple(name.rsplit("/", 1)[1] for name in MAKERS)


def build(folder: Path) -> dict[str, np.ndarray]:
    """images (N, 1, 32, 32) uint8 and labels (N,) uint8; icons that are equal to the pixel once."""
    unique: dict[bytes, tuple[np.ndarray, int]] = {}
    for label, (name, package) in enumerate(MAKERS.items()):
        icons = member(archive(name, package, folder), "icons.json")
        for it in icons["icons"].values():
            width, height = (it.get(side, icons.get(side, 16)) for side in ("width", "height"))
            if width == height and not it.get("hidden"):
                frame = f'xmlns="http://www.w3.org/2000/svg" width="{2 * SIZE}" height="{2 * SIZE}"'
                image = render(f'<svg {frame} viewBox="0 0 {width} {height}">{it["body"]}</svg>')[:1]
                unique.setdefault(image.tobytes(), (image, label))
    images, labels = zip(*unique.values(), strict=True)
    return {"images": np.stack(images), "labels": np.array(labels, np.uint8)}


def load(path: Path = ROOT) -> tuple[np.ndarray, np.ndarray]:
    """(images (N, 1, 32, 32) uint8, labels (N,) int64).

    Raises: ValueError if the images are not those of the recipe.
    """
    data = kept(path, SHA256)
    return data["images"], data["labels"].astype(np.int64)


def read(split: str, path: Path = ROOT) -> Data:
    """`load`, of split "train" or "test": every tenth icon, by the hash of its pixels. `icon-unet` is trained on both,
    `icon-features` on the first."""
    images, labels = load(path)
    test = np.array([hashlib.sha256(image.tobytes()).digest()[0] % 10 == 0 for image in images])
    chosen = {"train": ~test, "test": test}[split]
    return Data(images[chosen], labels[chosen])


def told(data: dict[str, np.ndarray]) -> str:
    counts = dict(zip(CLASSES, np.bincount(data["labels"]).tolist(), strict=True))
    return f"{len(data['images']):,} icons, {counts}"


if __name__ == "__main__":
    command(build, told, ROOT, __doc__)
