"""Whether a name on a hub still means the weights that a record tells of."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from pretrain.weights.hub.client import Unreachable
from pretrain.weights.hub.fetch import ask, fetched, tell
from pretrain.weights.hub.names import HubName, is_hub, kept_name, parse, recorded


class Record(NamedTuple):
    """What a folder says of the weights of its run.

    where: the file that says so. name, sha256: of the weights, "" where none were recorded. goes_on: whether the run
    has checkpoints to go on from.
    """

    where: Path
    name: str = ""
    sha256: str = ""
    goes_on: bool = False


def pinned(typed: str, record: Record) -> str:
    """A name on a hub with its commit: that of the record, or that of this moment. Any other text stays as it is.

    A run that goes on keeps its commit, and that the name has moved since is only told.

    Args: typed, as the user gave it; record, of an earlier start.

    Raises:
        UserError: the name cannot be read, or has moved since a start that has left no checkpoint.
    """
    if not is_hub(typed):
        return typed
    before = earlier(typed, record.name)
    if before and record.goes_on:
        if now := moved_to(typed, before, record.sha256):
            tell(f"note: {typed} has moved to revision {now}; this run began from {before}, and keeps to it")
        return str(before)
    path = fetched(typed)
    check_same(typed, path, record.name, record.sha256, record.where)
    return recorded(path)


def earlier(typed: object, record: str) -> HubName | None:
    """The file at a commit that a record names, where what is typed may mean it; else None."""
    if not (is_hub(typed) and is_hub(record)):
        return None
    name, before = parse(typed), parse(record)
    return before if before.pinned and name.covers(before) else None


def moved_to(typed: object, before: HubName, sha256: str) -> str:
    """The commit at which a name now has other weights than `before`; "" where it has the same, or cannot be asked.

    Args: typed, the name; before, its file at an earlier commit; sha256, of that.

    Raises:
        UserError: the hub no longer has the name, or may not be read.
    """
    name = parse(typed)
    if name.pinned:
        return ""
    try:
        answer = ask(name)
    except Unreachable:
        return ""
    same = answer.commit == before.revision or answer.files.get(before.file) == sha256
    return "" if same else answer.commit


def check_same(typed: object, path: Path, record: str, sha256: str, where: object) -> None:
    """Refuse to put what a name means now in the place of what it meant when a record was written.

    Args:
        typed: the name as the user gave it.
        path: the file that it means now.
        record: what the record calls its weights.
        sha256: of those.
        where: the record, for the sentence.

    Raises:
        UserError: the name has moved to other weights.
    """
    before = earlier(typed, record)
    if before is None or parse(typed).pinned or sha256_of(path) == sha256:
        return
    now = kept_name(path)
    raise UserError(
        f"{where} is of {before}, and {typed} has moved since, to revision {now.revision if now else 'unknown'} with "
        f"other weights: give {before} to go on with those, or name another place for the new ones."
    )
