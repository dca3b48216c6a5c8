"""What weights on a hub are called, in commands and in records: `hf:USER/NAME[@REVISION][/FILE]`, as hf:// has it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened

PREFIX = "hf:"
FORM = "hf:USER/NAME, hf:USER/NAME@REVISION or hf:USER/NAME@REVISION/FILE"
# a revision with a slash is written with %2F, but for those that the hub makes itself
NAME = re.compile(
    r"hf:/{0,2}(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>refs/(?:pr|convert)/[^/@]+|[^/@]+))?(/(?P<file>[^@]+))?"
)
COMMIT = re.compile(r"[0-9a-f]{40}")
FOLDER, SNAPSHOTS = "models--", "snapshots"  # of the client's folder: models--USER--NAME/snapshots/COMMIT/FILE
SHORT = 8  # digits of a commit that people are shown


@dataclass(frozen=True)
class HubName:
    """repo: USER/NAME. revision: a branch, a tag or a commit. file: in it. Where one is "", the usual one is meant."""

    repo: str
    revision: str = ""
    file: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision.replace('/', '%2F')}" if self.revision else ""
        return f"{PREFIX}{self.repo}{at}{self.file and '/'}{self.file}"

    @property
    def pinned(self) -> bool:
        """Whether it names a commit, which never changes."""
        return COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str, file: str = "") -> HubName:
        """The same at a commit."""
        return replace(self, revision=commit, file=file or self.file)

    def covers(self, other: HubName) -> bool:
        """Whether `other`, a file at a commit, may be what this name means, now or at another time."""
        same = self.repo == other.repo and self.file in ("", other.file)
        return same and (not self.pinned or self.revision == other.revision)


def is_hub(text: object) -> bool:
    """Whether a text or a path is a name on a hub; ./hf:x is a file."""
    return str(text).startswith(PREFIX)


def parse(text: object) -> HubName:
    """A name on a hub from what was typed.

    Raises:
        UserError: it has another form.
    """
    found = NAME.fullmatch(str(text))
    file = found["file"] or "" if found else ""
    if found is None or ".." in PurePosixPath(file).parts:
        raise UserError(f"'{shortened(str(text))}' is no name on the hub: write {FORM}.")
    return HubName(found["repo"], unquote(found["revision"] or ""), file)


def kept_name(path: Path) -> HubName | None:
    """The name on the hub of a file in the client's folder, with its commit; None of any other file."""
    parts = path.absolute().parts
    for place in range(len(parts) - 3):
        folder, snapshots, commit, *file = parts[place:]
        if folder.startswith(FOLDER) and snapshots == SNAPSHOTS and COMMIT.fullmatch(commit):
            return HubName("/".join(folder.removeprefix(FOLDER).split("--")), commit, "/".join(file))
    return None


def recorded(path: Path) -> str:
    """What records call a file of weights: its absolute path, or the name and the commit of one from a hub."""
    return str(kept_name(path) or path.resolve())


def shown(text: str) -> str:
    """A name from a record as people are shown it: without the file, and with the first digits of the commit."""
    try:
        name = parse(text)
    except UserError:  # of a record that somebody has edited
        return text
    return str(HubName(name.repo, name.revision[:SHORT] if name.pinned else name.revision))
