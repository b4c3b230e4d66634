"""The record of a run or a study: as text, in what another one differs from it, and what the place where it is found is
to a job, before anything is written there."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seeds.errors import InputError
from seeds.runs.identity import Identity

DONE = "done"
NETWORK = "network"
NAMES = ("model", "model_sha256")
"""What a network is called, and the file it came from: written down, and asked only of records that do not say more of
the network."""
EARLIER: dict[str, Any] = {"data_range": [-1.0, 1.0], "decode_batch": None, "data_sha256": None, "compiled": False}
"""What records mean that were written before they said so."""
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


def different(old: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings of `now` that `old` has otherwise, in words; of settings within settings, those that differ.

    A network is compared as `Identity` does, by its weights and answers.
    """
    words = []
    known = old.get(NETWORK) is not None and now.get(NETWORK) is not None
    for key, value in json.loads(json.dumps(now)).items():
        before = old.get(key, EARLIER.get(key))
        if key == NETWORK:
            words += _networks(before, value) if known else []
        elif key in NAMES and known:
            continue
        elif isinstance(value, dict) and isinstance(before, dict):
            words += [f"{key}.{text}" for text in different(before, dict.fromkeys(before) | value)]
        elif before != value:
            words.append(f"{key} {before!r}, now {value!r}")
    return words


def _networks(old: Any, now: Any) -> list[str]:
    """In what networks, or lists of them, differ."""
    olds, news = ([facts] if isinstance(facts, dict) else facts for facts in (old, now))
    if len(olds) != len(news):
        return [f"{len(olds)} networks, now {len(news)}"]
    words = (Identity.from_facts(a).apart(Identity.from_facts(b)) for a, b in zip(olds, news, strict=True))
    return [word for word in words if word]


class Claim(NamedTuple):
    """What a place is to a job.

    Attributes:
        state: "fresh": nothing of it is there; "resumed": a part of it is; "done": all of it is.
        record: what the place says of itself.
    """

    state: Literal["fresh", "resumed", "done"]
    record: Any = None


def claim(
    place: Path,
    record: str,
    kind: str,
    before: dict[str, Any] | None,
    *,
    foreign: Path | None,
    resume: bool,
    differences: Callable[[dict[str, Any]], Sequence[str]],
) -> Claim:
    """What a place is to a run or a study.

    Args:
        record: the name of its record there.
        kind: "run" or "study".
        before: what the record says; None if there is none.
        foreign: a file there that is of something else, if there is no record.
        resume: whether to go on with what is there.
        differences: in what the one that is there is another one, in words.
    Raises: ValueError if the place is foreign: what is there is of something else, or nobody asked to go on with it.
    """
    if before is None and foreign is None:
        return Claim("fresh")
    if before is None:
        why = f"{foreign} is there already, and is of no {kind} ({place / record} is missing). Choose another folder."
    elif not resume:
        why = f"{place} holds a {kind} ({before['status']}). Complete it with --resume, or choose another folder."
    elif words := differences(before):
        why = (
            f"{place} holds another {kind}: it has {'; '.join(words)}. Give --resume what the {kind} was started with "
            f"(`command` in {place / record}), or choose another folder."
        )
    else:
        return Claim("done" if before["status"] == DONE else "resumed", before)
    raise InputError(why)
