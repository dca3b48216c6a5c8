"""Files that are either whole or absent: atomic writes, safe reads, hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it over `path`.

    A reader, or a process killed half way, sees the old file or the new one and never a part.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _flush_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _flush_names(folder: Path) -> None:
    """Make the rename last through a loss of power; a file system that cannot does without."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> Path:
    """Write `text` (UTF-8) atomically."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as indented JSON, atomically."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


def save_torch(path: Path, value: Any) -> Path:
    """`torch.save`, atomically."""
    import torch

    return write_atomically(path, lambda temporary: torch.save(value, temporary))


def load_torch(path: Path) -> Any:
    """`torch.load` onto the CPU with `weights_only=True`.

    Raises:
        UserError: the file is missing, cut short, or holds more than tensors and plain containers.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file: give the path of a checkpoint.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError) as error:
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
