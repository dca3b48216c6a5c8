"""Files that are either whole or absent: atomic writes, safe reads, hashes."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
import pickle
import re
import shutil
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError

# what a damaged or hostile file raises in the readers of pickles, zip files, arrays and tensors
FAULTS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error),
)


def write_atomically(path: Path, write: Callable[[Path], object], flush: bool = True) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it over `path`.

    A reader, or a process killed half way, sees the old file or the new one and never a part. Where `write` raises,
    the old file stays.

    Args: flush, put it on the disk before the rename, so that a loss of power leaves no part either; what is made again
        at no cost does without.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        _replace(temporary, path, flush)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A draft of a file or folder under its own name, in a temporary folder beside `path`.

    It takes the place of `path` when the body ends, and is thrown away when the body raises. For what is read or
    checked as a draft, by a reader that goes by the name's ending, and for folders.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder, path.name)
        yield draft
        _replace(draft, path, flush=draft.is_file())


def make_folder_atomically(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Let `fill` make .NAME.part beside `folder`, which must be absent or empty, then rename it to `folder`.

    What an interrupted call left there is removed first.
    """
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)
    fill(part)
    _replace(part, folder, flush=False)
    return folder


def _replace(new: Path, path: Path, flush: bool) -> None:
    if flush:
        with open(new, "rb+") as handle:
            os.fsync(handle.fileno())
    os.replace(new, path)
    if flush:
        _flush_names(path.parent)


def _flush_names(folder: Path) -> None:
    """Make the rename last through a loss of power; a file system that cannot does without."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> Path:
    """Write `text` (UTF-8) atomically; bytes of names that are not UTF-8 become escapes."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as indented JSON, atomically."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path, what: str) -> Any:
    """The value in a JSON file, in any of the encodings that JSON may have.

    Args: what: the kind of file, for the message, such as "a COCO instances file".

    Raises:
        UserError: it is missing or cannot be opened, is no JSON, or is nested more deeply than Python reads.
    """
    content = _bytes_of(path, what)
    try:
        return json.loads(content)
    except (ValueError, MemoryError) as error:
        reason = " ".join(str(error).split()) or "it does not fit into memory"
        raise UserError(f"{path} is not {what}: {reason}.") from error
    except RecursionError as error:
        raise UserError(f"{path} is not {what}: it is nested too deeply.") from error


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file, in UTF-8 with or without a mark, or in UTF-16 with one.

    Args: what: the kind of file, for the message, such as "a list of images".

    Raises:
        UserError: it is missing or cannot be opened, or is in another encoding.
    """
    return lines_of(_bytes_of(path, what), path, what)


def lines_of(content: bytes, path: object, what: str) -> list[str]:
    """The same of the bytes of such a file. Args: path, its name for messages."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {what} in UTF-8 (byte {error.start}): save it in that encoding.") from error
    return re.split(r"\r\n|\n|\r", text)


def _bytes_of(path: Path, what: str) -> bytes:
    if not path.is_file():  # a pipe or a device would never end
        raise UserError(f"{path} {'is no file' if path.exists() else 'does not exist'}: give the path of {what}.")
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise UserError(f"{path} cannot be read as {what} ({error or 'it does not fit into memory'}).") from error


def save_torch(path: Path, value: Any) -> Path:
    """`torch.save`, atomically."""
    import torch

    return write_atomically(path, lambda temporary: torch.save(value, temporary))


def load_torch(path: Path) -> Any:
    """`torch.load` onto the CPU with `weights_only=True`, after its checksums were compared, which torch does not do.

    Raises:
        UserError: the file is missing, cut short, damaged, or holds more than tensors and plain containers.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file: give the path of a checkpoint.")
    try:
        with open(path, "rb") as handle:
            zipped = handle.read(2) == b"PK"
        if zipped:
            with zipfile.ZipFile(path) as archive:
                checked = any(member.CRC for member in archive.infolist())  # torch can be told to write none
                if damaged := archive.testzip() if checked else None:
                    raise ValueError(f"the checksum of its part {damaged} is wrong")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python and torch, about damaged texts
            return torch.load(path, map_location="cpu", weights_only=True)
    except FAULTS as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} cannot be read as a torch checkpoint ({reason}): the file is truncated, damaged, or holds "
            "pickled objects other than tensors; copy it again from its source."
        ) from error


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def natural_key(text: str) -> list[str | float]:
    """A sort key by which file 1024 comes before file 16384: words and numbers in turn."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]
