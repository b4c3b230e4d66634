"""What a place on disk is to a job or a study, before anything is written there."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seeds.distributed import Group
from seeds.errors import InputError

DONE = "done"


class Claim(NamedTuple):
    """What a place is to a job.

    Attributes:
        state: "fresh": nothing of it is there; "resumed": a part of it is; "done": all of it is; "foreign": what is
            there is of something else, or nobody asked to go on with it.
        record: what the place says of itself.
        reason: why it is foreign, as a sentence.
    """

    state: Literal["fresh", "resumed", "done", "foreign"]
    record: Any = None
    reason: str = ""

    def checked(self) -> "Claim":
        """The claim. Raises: ValueError if the place is foreign."""
        if self.state == "foreign":
            raise InputError(self.reason)
        return self

    def taken(self, group: Group) -> "Claim":
        """The claim, once the group may write there. Raises: ValueError if the place is foreign."""
        self.checked()
        group.begin()
        return self


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
    return Claim("foreign", before, why)
