"""Images in a NumPy file: uint8 (N, H, W, 3), (N, 3, H, W) or (N, H, W), with whole numbers (N,) beside them as labels.

The pixels stay on disk and are mapped. Those of a compressed .npz are unpacked once, into the folder of indexes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.archives.cache import cache_folder
from pretrain.data.columns import IMAGES, LABELS, chosen, no_labels
from pretrain.data.compact import Ints, Paths, Strings
from pretrain.data.decode import plain
from pretrain.data.files.local import state_of
from pretrain.data.folders.classes import Layout, numbered
from pretrain.data.mapped import Column, columns_of
from pretrain.data.packed import INDEX
from pretrain.data.sources.base import Asked, ImageSource, Kind
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import FAULTS, write_atomically
from pretrain.runtime.printable import printable, say, shortened

ENDINGS = (".npz", ".npy")
IMAGE_NAMES = (*IMAGES, "data", "x_train", "x_test", "arr_0")
LABEL_NAMES = (*LABELS, "y_train", "y_test", "arr_1")
CLASS_NAMES = ("classes", "class_names", "label_names")


@dataclass
class ArrayStore:
    """N images of one array, handed out as uncompressed files; each process maps it for itself."""

    column: Column
    state: tuple[int, int] | None
    _map: np.ndarray | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_map": None}

    def fingerprint(self, place: int) -> object:
        """Size and time of the file, and the place in it."""
        return (*(self.state or ()), place)

    def read_bytes(self, place: int) -> bytes:
        """One image as a PPM."""
        if self._map is None:
            self._map = self.column.mapped()
        pixels = np.asarray(self._map[place])
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        elif pixels.shape[-1] not in (1, 3):
            pixels = pixels.transpose(1, 2, 0)
        return plain(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))


def _takes(root: str) -> bool:
    return os.path.splitext(root)[1].lower() in ENDINGS and os.path.basename(root) != INDEX and os.path.isfile(root)


def _open(asked: Asked) -> ImageSource:
    try:
        columns = columns_of(asked.path)
    except FAULTS as error:
        if isinstance(error, UserError):
            raise
        reason = shortened(" ".join(str(error).split()) or type(error).__name__, 200)
        raise UserError(f"{asked.root} cannot be read as NumPy arrays ({reason}): copy it again.") from error
    name = _image_name(asked, columns)
    count = columns[name].shape[0]
    found = _labels(asked, columns, name, count)
    state = state_of(asked.path)
    column = _unpacked(asked, name) if columns[name].offset < 0 else columns[name]
    keys = Strings.of(f"{place:08d}" for place in range(count))
    about = f"{printable(asked.root)}: {found.counts(count)}, arrays"
    store = ArrayStore(column, state)
    places = Ints(np.arange(count))
    return ImageSource(
        asked.path, Paths.below(asked.path, keys), found.labels, found.classes, store, places, about, "arrays"
    )


def _image_name(asked: Asked, columns: dict[str, Column]) -> str:
    fits = [name for name, one in columns.items() if _holds_images(one)]
    given = chosen(asked, "image_column", list(columns), ()) if asked.reading.image_column else None
    known = [name for name in fits if name.lower() in IMAGE_NAMES]
    found = given or (fits[0] if len(fits) == 1 else known[0] if len(known) == 1 else None)
    if found is None and len(fits) > 1:
        raise UserError(
            f"{asked.root} has images in {', '.join(fits)}: say which with {asked.option('image_column')}NAME."
        )
    if found not in fits:
        there = ", ".join(f"{shortened(name)} {one.dtype} {one.shape}".strip() for name, one in columns.items())
        raise UserError(
            f"{asked.root} holds no images of uint8 (N, H, W, 3), (N, 3, H, W) or (N, H, W), but {there or 'nothing'}: "
            "write its pixels in 0..255 so."
        )
    return found


def _holds_images(one: Column) -> bool:
    if one.dtype != "|u1" or not one.shape or 0 in one.shape:
        return False
    channels = len(one.shape) == 4 and (one.shape[3] in (1, 3) or one.shape[1] in (1, 3))
    return channels or len(one.shape) == 3


def _labels(asked: Asked, columns: dict[str, Column], image: str, count: int) -> Layout:
    """The labels that fit the images, by the option, a known name, or where there is only one such array."""
    fits = [name for name, one in columns.items() if one.dtype[1:2] in "iu" and _per_image(one, count)]
    given = chosen(asked, "label_column", list(columns), ()) if asked.reading.label_column else None
    beside = {"x_train": "y_train", "x_test": "y_test"}.get(image.lower())
    known = [name for name in fits if name.lower() == beside] or [name for name in fits if name.lower() in LABEL_NAMES]
    found = given or (known[0] if len(known) == 1 else fits[0] if len(fits) == 1 else None)
    if found is None:
        if asked.labelled:
            raise no_labels(asked)
        return Layout(None, (), 1)
    if found not in fits:
        raise UserError(
            f"{asked.root}: {found} {columns[found].dtype} {columns[found].shape} cannot be labels of {count} images: "
            f"name whole numbers ({count},) with {asked.option('label_column')}NAME."
        )
    labels = _values(columns[found], found).reshape(-1).astype(np.int64)
    layout = numbered(labels.tolist())
    names = next((name for name in columns if name.lower() in CLASS_NAMES and columns[name].dtype[1:2] in "US"), None)
    if names is None or labels.min() < 0 or labels.max() >= columns[names].shape[0]:
        return layout
    told = tuple(map(str, _values(columns[names], names).tolist()))
    return Layout(Ints(labels.astype(np.int32)), told, 1) if len(set(told)) == len(told) else layout


def _per_image(one: Column, count: int) -> bool:
    return one.shape in ((count,), (count, 1))


def _values(column: Column, name: str) -> np.ndarray:
    """A small array of a file, in memory."""
    with np.load(column.file, allow_pickle=False) as file:
        return np.asarray(file[name])


def _unpacked(asked: Asked, name: str) -> Column:
    """A compressed array, as a file of its own in the folder of indexes; one that is there already is taken."""
    path, folder = asked.path, cache_folder(asked.reading.index_cache)
    about = f"{path.resolve()}:{state_of(path)}:{name}"
    target = folder / f"{hashlib.sha256(about.encode('utf-8', 'surrogateescape')).hexdigest()}.npy"
    if not target.is_file():
        say(f"{asked.root} is compressed: {name} is unpacked once, into {target}")

        def write(draft: Path) -> None:
            with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as packed, open(draft, "wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)

        try:
            write_atomically(target, write, flush=False)
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise UserError(f"{asked.root} cannot be read ({error}): copy it again.") from error
    return columns_of(target)[""]


KIND = Kind("arrays", "a NumPy file of images (.npz, .npy)", _takes, _open, ("{}.npz",), columns=lambda root: True)
