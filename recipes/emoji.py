r"""Emoji drawings as 32 x 32 RGB images: from five npm packages, rendered once, kept in `recipes/data/emoji32.npz`.

    pip install resvg_py && python -m recipes.emoji --packages DIR            # writes that file anew; needs npm

Each drawing is rendered by resvg on white at 64 x 64 and averaged over 2 x 2 pixels. Its class is the group of
Unicode's emoji list (package unicode-emoji-json). Drawings whose emoji is not found are left out; of the skin tones the
plain one and `TONES` stay, so that people are not most of the data. Licences: `recipes/data/emoji32.md`.

`load("held")` is a tenth of the *subjects*: every drawing of a subject, by all makers, in all tones and genders, is on
one side. It is never trained on, and stands for test images.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipes.packages import archive, command, framed, kept, member, packages, render
from recipes.training import Data

ROOT = Path(__file__).parent / "data" / "emoji32.npz"
SHA256 = "a0965b913f1a67ab61c61a0e6b62b634d342b1b6cdccc5094906a886bba2e912"  # of the bytes of `images`
SOURCE = "emoji drawings of five npm packages, MIT and Apache-2.0: recipes/data/emoji32.md"
CLASSES = ("faces", "people", "nature", "food", "travel", "activities", "objects", "symbols", "flags")
GROUPS = (
    "Smileys & "
    "Emotion", "People & Body", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects",
    "Symbols", "Flags",
)  # fmt: skip
UNFLIPPED = ("symbols", "flags")  # their mirror images are others, or none
SKIN = range(0x1F3FB, 0x1F400)  # the five tones' code points
TONES = (0x1F3FC, 0x1F3FF)  # medium-light and dark


_TABLE = """
@iconify-json/fluent-emoji-flat 1.2.6  7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175 MIT        Microsoft
@iconify-json/noto              1.2.9  3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad Apache-2.0 Google
@iconify-json/noto-v1           1.2.5  2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37 Apache-2.0 Google
@iconify-json/flag              1.2.12 42246bc20f6154739a192172d71ffe477747ad38278f2e912ec43f4dcb5a15e0 MIT        Lipiridis
@iconify-json/flagpack          1.2.8  165ea189ef6ee00b8c10d66c0a2702a6afe1d89d7feafdc3a02a459d65580483 MIT        Yummygum
unicode-emoji-json              0.9.0  ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401 MIT        Chiou
"""  # noqa: E501
MAKERS = packages(_TABLE)
LIST = "unicode-emoji-json", MAKERS.pop("unicode-emoji-json")


class Drawing(NamedTuple):
    """One drawing: index of its maker in MAKERS, of its class in CLASSES, its subject (CLDR name without gender), and
    its SVG."""

    maker: int
    label: int
    subject: str
    svg: str


def code_of(emoji: str | tuple[int, ...]) -> tuple[int, ...]:
    """Code points without variation selectors."""
    return tuple(c for c in (map(ord, emoji) if isinstance(emoji, str) else emoji) if c != 0xFE0F)


def plain(name: str) -> str:
    """Lower-case letters and digits of a name, by which makers' names and Unicode's are compared."""
    return re.sub("[^a-z0-9]", "", name.lower())


def subject_of(name: str) -> str:
    """CLDR name without gender, so that "man cook", "woman cook" and "cook" are one subject."""
    return plain(re.sub(r"\b(man|woman|men|women|person|people|boy|girl)\b", "", name)) or plain(name)


def icons_by_code(icons: dict, chars: dict, named: dict[str, tuple[int, ...]]) -> dict[tuple[int, ...], str]:
    """Icon of each emoji (code points) that a maker draws: as the package says, or by the emoji's name or a flag's
    letters."""
    found: dict[tuple[int, ...], str] = {}
    for key, icon in chars.items():
        code = code_of(tuple(int(c, 16) for c in key.split("-")))
        found.setdefault(code, icons.get("aliases", {}).get(icon, {}).get("parent", icon))
    for icon in icons["icons"] if not chars else ():
        country = re.fullmatch("([a-z])([a-z])(-4x3)?", icon) if icons["prefix"] in ("flag", "flagpack") else None
        if country:
            found.setdefault(tuple(0x1F1E6 + ord(letter) - ord("a") for letter in country.groups()[:2]), icon)
        elif plain(icon) in named:
            found.setdefault(named[plain(icon)], icon)
    return found


def drawings(folder: Path) -> Iterator[Drawing]:
    """All drawings kept, maker by maker, in the order of Unicode's list and of code points."""
    listed = {code_of(emoji): entry for emoji, entry in member(archive(*LIST, folder), "data-by-emoji.json").items()}
    named = {plain(entry["name"]): code for code, entry in listed.items()}
    order, entries = {code: place for place, code in enumerate(listed)}, list(listed.values())
    for maker, (name, package) in enumerate(MAKERS.items()):
        path = archive(name, package, folder)
        icons, chars = member(path, "icons.json"), member(path, "chars.json")
        kept = []
        for code, icon in icons_by_code(icons, chars, named).items():
            bare = tuple(c for c in code if c not in SKIN)
            tone = {c for c in code if c in SKIN}  # one, or none: people of two tones are left out
            if bare in listed and icon in icons["icons"] and tone in (set(), *({it} for it in TONES)):
                kept.append((order[bare], code, icon))
        for place, _, icon in sorted(kept):
            entry = entries[place]
            yield Drawing(maker, GROUPS.index(entry["group"]), subject_of(entry["name"]), framed(icons, icon))


def held_out(subject: str) -> bool:
    """Whether the subject is in the tenth that is not trained on."""
    return hashlib.sha256(subject.encode()).digest()[0] % 10 == 0


def build(folder: Path) -> dict[str, np.ndarray]:
    """images (N, 3, 32, 32) uint8, labels, makers (N,) uint8, held (N,) bool; drawings that are equal to the pixel
    once."""
    unique: dict[bytes, tuple[np.ndarray, Drawing]] = {}
    for drawing in drawings(folder):
        image = render(drawing.svg)
        unique.setdefault(image.tobytes(), (image, drawing))
    images, kept = zip(*unique.values(), strict=True)
    return {
        "images": np.stack(images),
        "labels": np.array([it.label for it in kept], np.uint8),
        "makers": np.array([it.maker for it in kept], np.uint8),
        "held": np.array([held_out(it.subject) for it in kept]),
    }


def load(split: str, path: Path = ROOT) -> tuple[np.ndarray, np.ndarray]:
    """(images (N, 3, 32, 32) uint8, labels (N,) int64) of split "train" or "held".

    Raises: ValueError if the images are not those of the recipe.
    """
    data = kept(path, SHA256)
    chosen = data["held"] if split == "held" else ~data["held"]
    return data["images"][chosen], data["labels"][chosen].astype(np.int64)


def read(split: str, path: Path = ROOT) -> Data:
    """`load`, and which of the drawings are as good mirrored."""
    images, labels = load(split, path)
    return Data(images, labels, ~np.isin(labels, [CLASSES.index(name) for name in UNFLIPPED]))


def told(data: dict[str, np.ndarray]) -> str:
    return f"{len(data['images']):,} images, {data['held'].sum():,} held out"


if __name__ == "__main__":
    command(build, told, ROOT, __doc__)
