"""Features on disk, for one checkpoint, one set of images and one test transform: resumable, and shared by ranks.

FOLDER/KEY/rows.f32      the rows one after the other, float32; rows.part until all are there
FOLDER/KEY/part-*.json   a part whose rows are on disk, named by its images: what could not be read, and a CRC-32
FOLDER/KEY/index.json    written last, instead of the parts: a folder without it is unfinished
KEY is a hash of all that the rows depend on (wanted.py), so another checkpoint or an added image begins another folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, write_atomically, write_json
from pretrain.runtime.lock import Holder, exclusive
from pretrain.runtime.printable import say
from transfer.features.extract import check_finite, names_of, nothing_read, outputs
from transfer.features.pictures import Pictures, batches_of, evaluation_transform, room_of
from transfer.features.rows import Features, RowFile
from transfer.features.wanted import Wanted
from transfer.options import WAIT

PART, FEWEST = 1024, 32  # images of a part: at most, and at least where the set has as many
PARTS = 16  # of a set that is too small for so many large ones, so that several ranks have work
INDEX, ROWS, UNFINISHED = "index.json", "rows.f32", "rows.part"


def features(
    folder: Path,
    wanted: Wanted,
    network: Callable[[], nn.Module],
    batch_size: int,
    workers: int,
    device: torch.device,
    minutes: float = WAIT,
) -> Features:
    """Rows from the cache `folder`; missing or unfinished ones are computed first, shared among the ranks.

    Args:
        folder: of the cache, which holds one folder for each `Wanted`.
        wanted: which rows: checkpoint, images and transform.
        network: makes the trunk, from (n, 3, S, S) images to (n, D); called only where rows are missing.
        batch_size: images at once.
        workers: loader processes.
        device: where the trunk runs.
        minutes: how long the next batch may take to come.

    Raises:
        UserError: the folder cannot be written (a full disk), rows are not finite, nothing can be decoded, or the rows
            on disk are not those that were written.
    """
    about = wanted.about()
    place = folder / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    with _one_at_a_time(place):
        distributed.barrier()
        there = (place / INDEX).is_file()
        distributed.barrier()  # all ranks have looked before one of them can finish the index
        if not there:
            with _on_disk(place):
                _fill(place, wanted, network, batch_size, workers, device, minutes)
                distributed.barrier()
                if distributed.rank() == 0:
                    _finish(place, about, wanted)
            distributed.barrier()
    return _open(place, wanted)


@contextlib.contextmanager
def _one_at_a_time(place: Path) -> Iterator[None]:
    """Let one evaluation at a time compute these features. Another one waits and then reads them from the cache.

    Nothing waits where the file system has no locks or cannot be written; the latter is reported later.
    """
    path = place.with_name(f"{place.name}.lock")

    def wait(_: Holder) -> float:
        say(f"waiting for another evaluation, which computes the same features in {path.parent}")
        return math.inf

    with contextlib.ExitStack() as stack:
        if distributed.rank() == 0:
            with contextlib.suppress(OSError):
                stack.enter_context(exclusive(path, wait))
                stack.callback(path.unlink, missing_ok=True)
        yield


@contextlib.contextmanager
def _on_disk(place: Path) -> Iterator[None]:
    """Report an error of the disk in one sentence; after any error, free the disk space that holds no rows."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"features cannot be written to {place} ({error.strerror}): make room there or give another cache folder; "
            "what is written so far is used again."
        ) from error
    finally:
        if not any(place.glob("*.json")):
            (place / UNFINISHED).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                place.rmdir()


def parts_of(images: int) -> list[range]:
    """The parts of a set of so many images. Ranks take turns at them, and an interruption loses at most one a rank.

    They depend on nothing else, so that any number of ranks goes on where another one stopped.
    """
    size = min(PART, max(FEWEST, -(-images // PARTS)))
    return [range(start, min(start + size, images)) for start in range(0, images, size)]


def _fill(
    place: Path,
    wanted: Wanted,
    network: Callable[[], nn.Module],
    batch_size: int,
    workers: int,
    device: torch.device,
    minutes: float,
) -> None:
    """Write this rank's missing parts. All disk space is reserved first, so a full disk shows before long work."""
    source = wanted.source
    place.mkdir(parents=True, exist_ok=True)
    with open(place / UNFINISHED, "ab") as file:
        os.posix_fallocate(file.fileno(), 0, len(source) * wanted.width * 4)
    parts = parts_of(len(source))[distributed.rank() :: distributed.world_size()]
    left = [part for part in parts if not _marker(place, part).is_file()]
    if len(left) < len(parts):
        say(f"{place}: {len(parts) - len(left)} of {len(parts)} parts are there already")
    batches = [batch for part in left for batch in batches_of(part, batch_size)]
    pictures = Pictures(source, evaluation_transform(wanted.image_size, wanted.resize, wanted.interpolation))
    what = f"features of {source.root.name}"
    reading = (workers, device, what, minutes, room_of(batch_size, wanted.image_size, workers), wanted.precision)
    found = outputs(network(), pictures, batches, *reading) if left else iter(())
    with open(place / UNFINISHED, "r+b") as file:
        for part in left:
            begun = time.perf_counter()
            file.seek(part.start * wanted.width * 4)
            written = _write_part(file, itertools.islice(found, len(batches_of(part, batch_size))), source, part)
            file.flush()
            os.fsync(file.fileno())
            write_json(_marker(place, part), written | {"seconds": time.perf_counter() - begun})
    assert next(found, None) is None  # which also lets the progress display finish


def _write_part(
    file: IO[bytes], found: Iterable[tuple[torch.Tensor, list[int], list[str]]], source: ImageSource, part: range
) -> dict[str, Any]:
    """Write the rows of a part in order, and return the content of its part-*.json."""
    crc, read_all, reasons_all = 0, [], []
    for rows, read, reasons in found:
        reasons_all += reasons
        if read:
            check_finite(rows, names_of(source, read), source.where)
            data = rows.numpy().tobytes()
            file.write(data)
            crc = zlib.crc32(data, crc)
            read_all += read
    missing = sorted(set(part) - set(read_all))
    return {"kept": len(read_all), "crc": crc, "skipped": list(zip(missing, reasons_all, strict=True))}


def _marker(place: Path, part: range) -> Path:
    return place / f"part-{part.start:08}-{part.stop:08}.json"


def _finish(place: Path, about: dict[str, Any], wanted: Wanted) -> None:
    """Close the gaps that unreadable images leave at the ends of parts, and write the index in place of the parts."""
    spans = parts_of(len(wanted.source))
    parts = [json.loads(_marker(place, span).read_text()) for span in spans]
    skipped = [entry for part in parts for entry in part["skipped"]]
    rows, bytes_a_row = place / UNFINISHED, wanted.width * 4
    if len(skipped) == len(wanted.source):
        raise nothing_read(wanted.source, skipped[0][1])

    def close_gaps(path: Path) -> None:
        """Write what was kept of each part, one after the other."""
        with open(rows, "rb") as source, open(path, "wb") as target:
            for span, part in zip(spans, parts, strict=True):
                source.seek(span.start * bytes_a_row)
                target.write(source.read(part["kept"] * bytes_a_row))

    if skipped:
        write_atomically(place / ROWS, close_gaps)
        rows.unlink()
    else:
        os.replace(rows, place / ROWS)
    crcs = [(part["kept"], part["crc"]) for part in parts]
    seconds = sum(part["seconds"] for part in parts)
    write_json(place / INDEX, {"about": about, "parts": crcs, "skipped": skipped, "seconds": seconds})
    for marker in place.glob("part-*.json"):  # also those of another division, which earlier code left unfinished
        marker.unlink()


def _index(place: Path, images: int) -> dict[str, Any]:
    """The index of features of so many images.

    Raises:
        UserError: it is damaged.
    """
    try:
        index: dict[str, Any] = read_json(place / INDEX, "an index of features")
        kept = sum(_count(rows) for rows, _ in index["parts"])
        skipped = {_count(at) for at, reason in index["skipped"] if isinstance(reason, str)}
        whole = (
            kept + len(skipped) == images and len(skipped) == len(index["skipped"]) and max(skipped, default=0) < images
        )
        if not (whole and isinstance(index["seconds"], (int, float))):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:  # also a UserError, of what is no JSON
        raise UserError(f"{place / INDEX} is damaged: delete {place} and evaluate again.") from error
    return index


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError
    return value


def _open(place: Path, wanted: Wanted) -> Features:
    """Features whose rows stay on disk, after their checksums have been verified.

    Raises:
        UserError: the rows are not those that were written.
    """
    labels = wanted.source.labels
    index = _index(place, len(wanted.source))
    sound, count = (place / ROWS).is_file(), sum(kept for kept, _ in index["parts"])
    if sound:
        with open(place / ROWS, "rb") as file:
            for kept, crc in index["parts"]:
                sound = sound and zlib.crc32(file.read(kept * wanted.width * 4)) == crc
    if not sound or (place / ROWS).stat().st_size != count * wanted.width * 4:
        raise UserError(f"{place / ROWS} is damaged (its checksums differ): delete {place} and evaluate again.")
    missing = {at for at, _ in index["skipped"]}
    read = [at for at in range(len(wanted.source)) if at not in missing]
    return Features(
        RowFile(place / ROWS, (count, wanted.width)),
        torch.tensor([-1 if labels is None else labels[at] for at in read]),
        names_of(wanted.source, read),
        tuple(reason for _, reason in index["skipped"]),
        index["seconds"],
    )
