"""The one walk over folders of images: what is an image, what is left out and why, and what cannot be read.

Entries that an operating system or a file server leaves behind never count. A folder that links lead to again is read
once. Errors of the file system are told, never passed over.
"""

from __future__ import annotations

import errno
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from pretrain.data.compact import Growing, Paths
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable

SYSTEM = frozenset(  # in lower case: of macOS, Windows, file servers and ext4
    ("__macosx", "icon\r", "network trash folder", "temporary items", "thumbs.db", "ehthumbs.db", "desktop.ini")
    + ("$recycle.bin", "system volume information", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle")
    + ("#snapshot", "~snapshot", "lost+found", "__pycache__")
)
SYSTEM_ENDINGS = frozenset(os.path.splitext(name)[1] for name in SYSTEM)
HIDDEN, AGAIN, BROKEN = "hidden or system", "links to folders that are read already", "links that lead nowhere"
SPECIAL, OTHER = "neither files nor folders", "without a known ending"
LONGEST_ENDING, SHOWN = 12, 6


@dataclass(frozen=True)
class Tree:
    """What lies below a folder.

    images: in the order of a depth-first walk, the files of a folder before its folders, both sorted by name.
    empty: the uppermost folders without an image, relative to the root. left_out: how many entries of each kind were
    passed over; a kind is an ending such as ".txt", or one of the words above.
    """

    root: Path
    images: Paths
    empty: tuple[str, ...]
    left_out: Counter[str]

    def omissions(self) -> str:
        """What was left out and which folders are empty, as the end of a sentence; "" where there is nothing to say."""
        counts = sorted(self.left_out.items(), key=lambda entry: (-entry[1], entry[0]))
        words = [f"{count} {kind}" for kind, count in counts[:SHOWN]]
        if rest := sum(count for _, count in counts[SHOWN:]):
            words.append(f"{rest} of other endings")
        told = f"; left out: {', '.join(words)}" if words else ""
        if self.empty:
            folders = "1 folder holds" if len(self.empty) == 1 else f"{len(self.empty)} folders hold"
            told += f"; {folders} no image: {', '.join(map(printable, self.empty[:SHOWN]))}"
            told += ", ..." if len(self.empty) > SHOWN else ""
        return told


@dataclass
class _Folder:
    """One folder as it was listed: the places of its images' names, and paths of its folders and links to folders."""

    stamp: int = 0  # when an entry was last added, renamed or removed, in nanoseconds
    images: range = range(0)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def below(self) -> list[str]:
        return sorted(self.folders + self.links)


def is_hidden(name: str) -> bool:
    """Whether an entry belongs to the system rather than to a data set: dot files, __MACOSX, Thumbs.db and the like."""
    return name.startswith((".", "~$")) or name.casefold() in SYSTEM


def walk(root: Path, endings: Collection[str]) -> Tree:
    """Every file below `root` whose name ends in one of `endings`, in any case of letters.

    Args: endings, in lower case with their dots.

    Raises:
        UserError: a folder below cannot be read.
    """
    return walk_stamped(root, endings)[0]


def walk_stamped(root: Path, endings: Collection[str]) -> tuple[Tree, dict[str, int]]:
    """The same, and when an entry of each folder was last added, renamed or removed, in nanoseconds.

    Raises:
        UserError: a folder below cannot be read.
    """
    left_out: Counter[str] = Counter()
    names = Growing()
    listed = _listings(os.fspath(root), frozenset(endings), names, left_out)
    order = list(_depth_first(os.fspath(root), listed))
    images = Paths.grown([(folder, listed[folder].images) for folder in order if listed[folder].images], names)
    tree = Tree(root, images, tuple(_empty(order, listed)), left_out)
    return tree, {folder: listed[folder].stamp for folder in order}


def _listings(root: str, endings: frozenset[str], names: Growing, left_out: Counter[str]) -> dict[str, _Folder]:
    """Every folder by its path. Links are followed after all that lies in the folder itself, and lead nowhere twice."""
    real_root = os.path.realpath(root)
    seen = {os.fspath(parent) for parent in Path(real_root).parents}
    listed: dict[str, _Folder] = {}
    pending, links = [(root, real_root)], deque[str]()
    while pending or links:
        path, real = pending.pop() if pending else (links[0], os.path.realpath(links.popleft()))
        if real in seen:
            left_out[AGAIN] += 1
            continue
        seen.add(real)
        listed[path] = found = _list(path, endings, names, left_out)
        pending += [(one, os.path.join(real, os.path.basename(one))) for one in reversed(found.folders)]
        links += found.links
    return listed


def _list(path: str, endings: frozenset[str], names: Growing, left_out: Counter[str]) -> _Folder:
    found = _Folder()
    try:
        found.stamp = os.stat(
            os.path.join(path, ".")
        ).st_mtime_ns  # refused where names may be listed and files may not be opened
        with os.scandir(path) as listing:
            images, others = _told_apart(listing, endings - SYSTEM_ENDINGS)
        for entry in sorted(others, key=attrgetter("name")):
            _sort_in(entry, endings, found, images, left_out)
    except OSError as error:
        raise unreadable(error.filename if isinstance(error.filename, str) else path, error) from error
    images.sort()
    found.images = names.add(images)
    return found


def _told_apart(entries: Iterable[os.DirEntry[str]], plain: frozenset[str]) -> tuple[list[str], list[os.DirEntry[str]]]:
    """The names of what is surely an image, nearly all there is, by the fewest questions; and the other entries."""
    images, others = [], []
    for entry in entries:
        name = entry.name
        if name[name.rfind(".") :].lower() in plain and name[0] not in ".~" and entry.is_file(follow_symlinks=False):
            images.append(name)
        else:
            others.append(entry)
    return images, others


def _sort_in(
    entry: os.DirEntry[str], endings: frozenset[str], found: _Folder, images: list[str], left_out: Counter[str]
) -> None:
    """Put an entry where it belongs.

    Args:
        entry: of a folder.
        endings: of images.
        found: takes folders and links to them.
        images: takes the name of an image.
        left_out: counts what is none.
    """
    name = entry.name
    ending = os.path.splitext(name)[1].lower()
    if is_hidden(entry.name):
        left_out[HIDDEN] += 1
    elif _answer(entry.is_dir):
        (found.links if entry.is_symlink() else found.folders).append(entry.path)
    elif not _answer(entry.is_file):
        nowhere = entry.is_symlink() and not os.path.exists(entry.path)
        if nowhere and ending in endings:  # an image all the same, which is counted and named when it is read
            images.append(name)
        else:
            left_out[BROKEN if nowhere else SPECIAL] += 1
    elif ending in endings:
        images.append(name)
    else:
        left_out[told_ending(ending)] += 1


def told_ending(ending: str) -> str:
    """How what is no image is counted, by its ending."""
    return printable(ending) if 1 < len(ending) <= LONGEST_ENDING else OTHER


def _answer(ask: Callable[[], bool]) -> bool:
    """What an entry says of itself; a link that leads to itself is neither a file nor a folder."""
    try:
        return ask()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _depth_first(root: str, listed: dict[str, _Folder]) -> Iterator[str]:
    pending = [root]
    while pending:
        yield (folder := pending.pop())
        pending += [below for below in reversed(listed[folder].below()) if below in listed]


def _empty(order: list[str], listed: dict[str, _Folder]) -> Iterator[str]:
    """The uppermost folders without an image, in their order; the first of `order` is the root itself."""
    images: Counter[str] = Counter()
    for folder in reversed(order):
        images[folder] += len(listed[folder].images)
        images[os.path.dirname(folder)] += images[folder]
    for folder in order[1:]:
        parent = os.path.dirname(folder)
        if not images[folder] and (images[parent] or parent == order[0]):
            yield os.path.relpath(folder, order[0])


def unreadable(path: str | Path, error: OSError) -> UserError:
    """What to raise for a path that the file system refuses to show."""
    return UserError(f"{path} cannot be read ({error.strerror}): give this user the right to read it, or leave it out.")
