"""What is given for a folder of images: one that can be entered, or a sentence on what it is instead."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pretrain.data.decode import endings
from pretrain.data.folders.walk import unreadable
from pretrain.data.packed import BLOB, INDEX
from pretrain.runtime.errors import UserError
from pretrain.runtime.urls import hide, is_url

ARCHIVES = (".tar", ".tgz", ".tbz", ".txz", ".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".iso", ".sqsh")
ARRAYS = (
    ".npz",
    ".npy",
    ".h5",
    ".hdf5",
    ".hdf",
    ".mat",
    ".pkl",
    ".pickle",
    ".pt",
    ".pth",
    ".zarr",
    ".parquet",
    ".arrow",
)
RECORDS = (
    ".feather",
    ".tfrecord",
    ".tfrecords",
    ".record",
    ".lmdb",
    ".mdb",
    ".beton",
    ".rec",
    ".bin",
    ".db",
    ".sqlite",
)
LISTS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".xml", ".lst")
AS_FILES = "write its pictures as files into one folder a class, and give "
KINDS = (  # endings, what a file with one is, and what to do with it before what should have been given
    (ARCHIVES, "an archive", "unpack it and give "),
    (ARRAYS, "arrays", AS_FILES),
    (RECORDS, "records", AS_FILES),
    (LISTS, "a list", "put the pictures that it names into folders, and give "),
)


def check_folder(place: str | Path, meaning: str) -> None:
    """Refuse a path that is no folder that can be entered.

    Args: place, the path. meaning, what should be there, for the message.

    Raises:
        UserError: nothing is there, a file is there, the file system refuses to tell, or it is a URL.
    """
    if is_url(str(place)):
        raise UserError(
            f"{hide(str(place))} is a URL of no kind that is read from there (a zip, tar or Parquet file, a pattern of "
            f"these, or a list as .txt, .csv or .tsv): give one, or download it and give {meaning}."
        )
    path = Path(place)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.stat(os.path.join(path, "."))
            return
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist{_why(path)}: give {meaning}.") from None
    except OSError as error:
        raise unreadable(path, error) from error
    raise UserError(f"{path} is a file, not a folder{_remedy(path, meaning)}.")


def _why(path: Path) -> str:
    """The nearest reason for a path that does not exist."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            return f" ({place} is a link to {os.readlink(place)}, which is not there)"
        if place.exists():
            return f" ({place} is a file)" if not place.is_dir() else ""
    return ""


def _remedy(path: Path, meaning: str) -> str:
    """What can be done with a file of this kind in place of a folder."""
    ending = path.suffix.lower()
    if path.name in (BLOB, INDEX):
        return f" (a part of a packed set): give its folder, {path.parent}"
    for known, kind, remedy in KINDS:
        if ending in known:
            return f" ({kind}): {remedy}{meaning}"
    return f"{' (a single picture)' if ending in endings() else ''}: give {meaning}"
