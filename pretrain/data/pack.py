"""Pack a set of images of any kind into one blob and an index: resumable, verified, and visible only when complete.

Unfinished work lies in .NAME.part next to the packed set: the blob so far, and a journal with one line for each image.
A run that was interrupted resumes from both.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from pretrain.data.decode import UnreadableImage, decode, plain, read_file
from pretrain.data.packed import BLOB, is_packed, open_packed, write_index
from pretrain.data.sources import ImageSource, Reading, open_source, resolved
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, write_json
from pretrain.runtime.printable import say
from pretrain.runtime.processes.pool import mapped
from pretrain.runtime.processes.watch import Patience, watched
from pretrain.runtime.urls import is_url, spelled

Plan = dict[str, str | int]
T = TypeVar("T")
JOURNAL, PLAN = "journal.jsonl", "plan.json"
AT_ONCE = 64  # images between two writes of the journal to disk
LONGEST_JPEG = 65_500  # pixels of a side; longer pictures are written as PNG
PATIENCE = 30.0  # minutes that the next image may take
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Entry:
    """One image in the journal. size: bytes in the blob, 0 where `refused` says why the image could not be read."""

    name: str
    size: int = 0
    checksum: int = 0
    refused: str = ""


def pack(
    source: str | Path,
    out: Path,
    short_side: int,
    quality: int,
    workers: int,
    class_depth: int = 0,
    reading: Reading | None = None,
) -> None:
    """Pack what lies under `source` as `out`, or go on where an earlier run with the same arguments stopped.

    Images whose short side is above `short_side` (0: none) are resized to it and written as JPEG of `quality`; all
    others are copied byte for byte. With a quality of 0 all are written uncompressed. Images that cannot be decoded are
    left out, counted and named.

    Args:
        source: a set as `open_source` reads it.
        out: the packed set's folder.
        short_side: largest short side of a packed image, in pixels; 0 keeps every size.
        quality: of the JPEG files that are written, 1 to 100; 0 writes uncompressed pixels.
        workers: number of processes that decode and resize.
        class_depth: how many folders name the class, as of `open_source`.
        reading: what else is said of `source`, as of `open_source`.

    Raises:
        UserError: nothing to pack, `out` holds something else, the source changed, or the disk is full.
    """
    out, root = out.resolve(), spelled(source)
    images = open_source(source, class_depth, labelled=True, ask="--class-depth ", reading=reading)
    if images.kind == "packed":
        raise UserError(f"{source} is a packed set already: give the folder that it was made from.")
    plan = _plan(root, images, short_side, quality, class_depth)
    if _already_there(out, plan):
        say(f"{out}: these images are packed there already, left as they are")
        return
    say(images.about)
    part = out.with_name(f".{out.name}.part")
    with _told_when_full(part):
        _begin(part, plan)
        entries = _fill(part, images, partial(shrunk, short_side=short_side, quality=quality), workers)
        if _stamp(open_source(source, class_depth, reading=reading)) != plan["stamp"]:
            raise UserError(f"{source} has changed while it was packed: remove {part} and pack it again.")
        _verify(part, entries)
        _finish(part, out, images, entries, plan)


def _plan(root: str, images: ImageSource, short_side: int, quality: int, class_depth: int) -> Plan:
    """What makes this packed set this one: its source as it stands, and how images are written."""
    name = resolved(root) if is_url(root) else str(Path(root).resolve())
    plan: Plan = {"source": name, "short_side": short_side, "quality": quality}
    return plan | {"stamp": _stamp(images)} | ({"class_depth": class_depth} if class_depth else {})


@dataclass(frozen=True)
class Contents(Sequence[bytes | str]):
    """The bytes of the images of a store, or why they cannot be read; read one after the other by this process alone.

    A store would have to be sent to every worker with each of its tasks, and many read fastest in their order.
    """

    images: ImageSource
    begun: int

    def __len__(self) -> int:
        return len(self.images) - self.begun

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        try:
            return self.images.read_bytes(self.begun + at)
        except UnreadableImage as error:
            return str(error)


def shrunk(path: Path, content: bytes | str | None, short_side: int, quality: int) -> tuple[bytes, str]:
    """(bytes to pack, "") of one image, or (b"", why it cannot be read).

    Args:
        path: of its file, or its name.
        content: its bytes or why they could not be read; None reads the file.
        short_side, quality: as of `pack`.
    """
    if isinstance(content, str):
        return b"", content
    try:
        data = read_file(path) if content is None else content
        pixels = decode(data, path)
    except UnreadableImage as error:
        return b"", str(error)
    height, width = pixels.shape[:2]
    if not 0 < short_side < min(height, width):
        return data if quality else plain(pixels), ""
    ratio = short_side / min(height, width)
    image = Image.fromarray(pixels).resize((round(width * ratio), round(height * ratio)), Image.Resampling.BICUBIC)
    if not quality:
        return plain(np.asarray(image)), ""
    written = io.BytesIO()
    if max(image.size) > LONGEST_JPEG:
        image.save(written, "PNG")
    else:
        image.save(written, "JPEG", quality=quality)
    return written.getvalue(), ""


def _names(images: ImageSource) -> list[str]:
    return [images.key(index) for index in range(len(images))]


def _stamp(images: ImageSource) -> int:
    """A checksum of all names and fingerprints: of files, sizes and modification times."""
    stamp = 0
    for index, name in enumerate(_names(images)):
        told = images.fingerprint(index)
        if told is None:  # a dangling link: refused when it is read
            continue
        told = "\0".join(map(str, told)) if isinstance(told, tuple) else told
        stamp = zlib.crc32(f"{name}\0{told}\n".encode("utf-8", "surrogateescape"), stamp)
    return stamp


def _already_there(out: Path, plan: Plan) -> bool:
    """Whether `out` is the packed set that `plan` would make; an absent or empty folder is not.

    Raises:
        UserError: something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not out.is_dir() or not is_packed(out):
        raise UserError(f"{out} already holds other files: give another folder or remove it.")
    made = open_packed(out).header.get("plan")
    if made == plan:
        return True
    if isinstance(made, dict) and {**made, "stamp": 0} == {**plan, "stamp": 0}:
        raise UserError(f"{plan['source']} has changed since {out} was packed from it: remove {out} and pack again.")
    raise UserError(f"{out} was packed from another folder or with other options: give another folder or remove it.")


def _begin(part: Path, plan: Plan) -> None:
    """Open the work folder, new or with what an earlier run of the same plan left.

    Raises:
        UserError: another plan left it, or the source changed since.
    """
    part.mkdir(parents=True, exist_ok=True)
    if not (part / PLAN).is_file():
        write_json(part / PLAN, plan)
    if read_json(part / PLAN, "the plan of a packing") != plan:
        raise UserError(
            f"{part} was begun from other images or with other options (or {plan['source']} changed since): remove it "
            "and pack again."
        )


def _kept(part: Path, names: list[str]) -> list[Entry]:
    """Entries that an earlier run wrote completely: those before the first whose bytes in the blob are wrong."""
    journal = part / JOURNAL
    entries: list[Entry] = []
    if not journal.is_file() or not (part / BLOB).is_file():
        return []
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        entry = _entry(line)
        if entry is None or len(entries) == len(names) or entry.name != names[len(entries)]:
            break
        entries.append(entry)
    return list(_unchanged(part, entries, "reading again"))


def _entry(line: str) -> Entry | None:
    """A line of the journal; None for one that is damaged, as a run leaves it that was killed while it wrote."""
    try:
        entry = Entry(**json.loads(line))
        whole = entry.size >= 0 and isinstance(entry.size, int) and isinstance(entry.checksum, int)
    except (ValueError, TypeError, RecursionError):
        return None
    return entry if whole and isinstance(entry.name, str) and isinstance(entry.refused, str) else None


def _unchanged(part: Path, entries: list[Entry], what: str) -> Iterator[Entry]:
    """Yield the entries in order, up to the first whose bytes in the blob have changed since they were written."""
    with open(part / BLOB, "rb") as blob:
        for entry in _shown(entries, len(entries), what):
            data = blob.read(entry.size)
            if len(data) != entry.size or zlib.crc32(data) != entry.checksum:
                return
            yield entry


def _fill(part: Path, images: ImageSource, make: partial[tuple[bytes, str]], workers: int) -> list[Entry]:
    """Append the images that the journal lacks to the blob, and return the entries of all images."""
    names = _names(images)
    entries = _kept(part, names)
    begun = written = len(entries)
    with open(part / BLOB, "ab") as blob, open(part / JOURNAL, "a", encoding="utf-8") as journal:
        blob.truncate(sum(entry.size for entry in entries))
        journal.truncate(len("".join(map(_line, entries))))
        patience = Patience(PATIENCE, str(images.root), "--workers")
        contents: Sequence[Any] = [None] * (len(names) - begun) if images.store is None else Contents(images, begun)
        made = watched(mapped(make, workers, images.paths[begun:], contents), patience)
        made = _shown(made, len(names), "packing", begun)
        for name, (data, refused) in zip(names[begun:], made, strict=True):
            blob.write(data)
            entries.append(Entry(name, len(data), zlib.crc32(data), refused))
            if len(entries) - written == AT_ONCE or len(entries) == len(names):
                _to_disk(blob)  # before the journal's entries about it
                journal.writelines(map(_line, entries[written:]))
                _to_disk(journal)
                written = len(entries)
    return entries


def _to_disk(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"  # ASCII


def _verify(part: Path, entries: list[Entry]) -> None:
    """Read the whole blob again and compare checksums.

    Raises:
        UserError: the bytes on disk are not those that were written.
    """
    whole = sum(1 for _ in _unchanged(part, entries, "verifying"))
    if whole < len(entries):
        raise UserError(
            f"{part / BLOB} gives other bytes for {entries[whole].name} than were written: check the disk, then run "
            "the same command again, which goes on from there."
        )


def _finish(part: Path, out: Path, images: ImageSource, entries: list[Entry], plan: Plan) -> None:
    """Write the index of the readable images, and give the folder its name."""
    kept = [index for index, entry in enumerate(entries) if not entry.refused]
    refused = [entry.refused for entry in entries if entry.refused]
    for reason in refused:
        print(f"skipped an unreadable image: {reason}", file=sys.stderr)
    if not kept:
        raise UserError(f"no file under {images.where} can be decoded, for example {refused[0]}.")
    offsets = list(accumulate((entries[index].size for index in kept), initial=0))
    header = {"classes": images.classes, "plan": plan, "skipped": refused}
    labels = [-1 if images.labels is None else images.labels[index] for index in kept]
    names, checksums = [entries[index].name for index in kept], [entries[index].checksum for index in kept]
    write_index(part, header, names, labels, offsets, checksums)
    (part / JOURNAL).unlink()
    (part / PLAN).unlink()
    part.replace(out)  # absent or empty
    sides = f"short side {plan['short_side']}" if plan["short_side"] else "original size"
    say(
        f"{out}: packed {len(kept)} images, {offsets[-1] / 1e6:.1f} MB at {sides}"
        + (f"; skipped {len(refused)} unreadable ones" if refused else "")
    )


@contextmanager
def _told_when_full(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UserError(
            f"no room is left for {part} ({error.strerror}): free some and run the same command again, which goes on "
            "from there."
        ) from error


def _shown(things: Iterable[T], total: int, what: str, begun: int = 0) -> Iterator[T]:
    """Pass `things` on under a progress bar, where the output is a terminal.

    Args: total, of them; what, is done, for the bar; begun, how many an earlier run did.
    """
    with tqdm(total=total, initial=begun, desc=what, unit="image", disable=not sys.stderr.isatty()) as bar:
        for thing in things:
            yield thing
            bar.update()
