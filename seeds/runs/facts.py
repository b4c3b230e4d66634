"""What identifies a run or a study, as JSON-able values, and in what two of them differ."""

import json
from collections.abc import Mapping
from typing import Any

from seeds.distributed import Group
from seeds.errors import InputError
from seeds.runs.identity import Identity

NETWORK = "network"
NAMES = ("model", "model_sha256")
"""What a network is called, and the file it came from: written down, and asked only of records that do not say more of
the network."""
EARLIER: dict[str, Any] = {"data_range": [-1.0, 1.0], "decode_batch": None, "data_sha256": None, "compiled": False}
"""What records mean that were written before they said so."""


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


def check_agreed(network: Identity, group: Group) -> None:
    """Raises: ValueError if this process has another network than the first."""
    first = group.once(network.facts)
    if words := Identity.from_facts(first).apart(network):
        raise InputError(
            f"The processes draw with different networks; process {group.rank} has {words}. Let the factory load its "
            "weights from a file, or seed them."
        )
