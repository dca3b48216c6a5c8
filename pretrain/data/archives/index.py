"""The index of one archive: which images it holds and where each begins."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pretrain.data.compact import Strings
from pretrain.data.decode import endings
from pretrain.data.folders.walk import HIDDEN, is_hidden, told_ending
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened

STORED, DEFLATED = 0, 8  # methods, as zip counts them
UNKNOWN = -1  # where an archive keeps no checksum of its members, and of an image without a label


@dataclass(frozen=True)
class Index:
    """N images of one archive in the order of its members.

    names: below the archive. columns (N, 6) int64: where the bytes begin (of a zip: their local header), how many there
    are, how many once unpacked, the method of compression, the CRC-32 and the label, the last two UNKNOWN where the
    archive has none. left_out: how many members of each kind are no images.
    """

    names: Strings
    columns: np.ndarray
    left_out: Counter[str]

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file keeps of it."""
        joined = "\0".join(self.names).encode("utf-8", "surrogatepass")
        told = json.dumps(self.left_out).encode()
        return {
            "names": np.frombuffer(joined, np.uint8),
            "columns": self.columns,
            "left_out": np.frombuffer(told, np.uint8),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Index:
        """From what `arrays` gave.

        Raises:
            ValueError, KeyError: the arrays are no index.
        """
        names, columns = arrays["names"], arrays["columns"]
        gaps = np.flatnonzero(names == 0)
        starts, ends = np.append(0, gaps + 1), np.append(gaps, len(names))
        count = len(columns)
        if columns.shape != (count, 6) or columns.dtype != np.int64 or (len(starts) != count and count):
            raise ValueError("its columns do not fit")
        return cls(
            Strings(names, starts[:count], ends[:count]), columns, Counter(json.loads(arrays["left_out"].tobytes()))
        )


@dataclass
class Listing:
    """Collects the members of an archive while its index is made."""

    path: object  # of the archive, for messages
    names: list[str] = field(default_factory=list)
    rows: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)

    def add(self, name: str, row: tuple[int, int, int, int, int]) -> None:
        """A member, which is an image or is counted among what is left out. Args: row, as of Index without the label.

        Raises:
            UserError: the archive holds another image of that name.
        """
        name = posixpath.normpath(f"/{name}").lstrip("/")  # no name leads out of the set
        if kind := _no_image(name):
            self.left_out[kind] += 1
            return
        if name in self._seen:
            raise UserError(
                f"{self.path} holds two members of the name {shortened(name)}: write the archive again with one of "
                "them, or give them different names."
            )
        self._seen.add(name)
        self.names.append(name)
        self.rows.append(row)

    def index(self) -> Index:
        """The index of what was added."""
        columns = np.empty((len(self.rows), 6), np.int64)
        columns[:, :5] = np.asarray(self.rows, np.int64).reshape(-1, 5)
        columns[:, 5] = [self.labels.get(sample_of(name), UNKNOWN) for name in self.names]
        return Index(Strings.of(self.names), columns, self.left_out)


def sample_of(name: str) -> str:
    """The sample that a member belongs to, as WebDataset has it: its path up to the first dot of its file's name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _no_image(name: str) -> str:
    """What a member is that is no image, in the words of the walk over folders; "" for an image."""
    if any(map(is_hidden, name.split("/"))):
        return HIDDEN
    ending = posixpath.splitext(name)[1].lower()
    return "" if ending in endings() else told_ending(ending)


def joined(parts: Iterable[Index]) -> tuple[Counter[str], np.ndarray, np.ndarray]:
    """Of several archives together: what is left out, which archive (N,) each image is in, and the columns (N, 6)."""
    found = list(parts)
    left_out: Counter[str] = sum((part.left_out for part in found), Counter())
    which = np.repeat(np.arange(len(found), dtype=np.int32), [len(part.columns) for part in found])
    return left_out, which, np.concatenate([part.columns for part in found])


def damaged(path: object, reason: Any) -> UserError:
    """What to raise for an archive that cannot be listed."""
    return UserError(f"{path} cannot be read ({reason}): copy or download it again from its source.")
