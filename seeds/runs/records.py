"""Names of a run's files, by their seed, and its record as text."""

import json
import re
from pathlib import Path
from typing import Any

from seeds.errors import InputError

_NUMBERS = re.compile(r"\[\n\s+-?\d[-+.e\d,\s]*\]")


def name_of(seed: int, subdirs: bool) -> str:
    """000042.png or, with subdirs, 000000/000042.png: one folder for each thousand seeds."""
    return f"{seed - seed % 1000:06d}/{seed:06d}.png" if subdirs else f"{seed:06d}.png"


def json_bytes(record: dict[str, Any]) -> bytes:
    """A record as a text file; a list of numbers is one line of it."""
    text = json.dumps(record, indent=2, allow_nan=False)
    return (
        _NUMBERS.sub(lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text) + "\n"
    ).encode()


def read_record(path: Path, data: bytes, kind: str = "job") -> dict[str, Any]:
    """The record of a run (`kind` "job") or a study that `data`, read from `path`, holds. Raises: ValueError if it is
    none."""
    try:
        record = json.loads(data)
    except ValueError:
        record = None
    wanted = {kind: dict, "status": str} | ({"rows": list} if kind == "study" else {})
    if not isinstance(record, dict) or not all(isinstance(record.get(key), of) for key, of in wanted.items()):
        raise InputError(
            f"{path} is not the record of a {'run' if kind == 'job' else kind}. Bring the record back, or choose "
            "another folder."
        )
    return record
