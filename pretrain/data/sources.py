"""Where the images of a set lie: class folders, a flat folder of unlabelled images, or a packed set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.data.decode import UnreadableImage, decode
from pretrain.data.packed import PackedSet, is_packed, open_packed
from pretrain.runtime.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff")


@dataclass(frozen=True)
class ImageSource:
    """Where the images of one set lie.

    paths: one file an image, sorted; those of a packed set have its folder for a root and need not exist.
    labels: class index of each, or None for a flat folder. classes: folder names in sorted order, empty for a flat
    folder. packed, places: the packed set that holds the images, and where in it; None for files.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]
    packed: PackedSet | None = None
    places: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Sequence[int]) -> ImageSource:
        """The same set with no more than the images at `indices`, in their order."""
        return replace(
            self,
            paths=tuple(self.paths[at] for at in indices),
            labels=None if self.labels is None else tuple(self.labels[at] for at in indices),
            places=None if self.places is None else tuple(self.places[at] for at in indices),
        )

    def read_bytes(self, index: int) -> bytes:
        """The bytes of one image's file.

        Raises:
            UnreadableImage: the file is missing or cannot be read, or the packed bytes have changed.
        """
        if self.packed is not None:
            assert self.places is not None, "a packed set knows where its images are"
            return self.packed.read_bytes(self.places[index])
        try:
            return self.paths[index].read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{self.paths[index]} ({type(error).__name__})") from error

    def read_pixels(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 (H, W, 3).

        Raises:
            UnreadableImage: missing, empty, cut short, damaged or no image.
        """
        return decode(self.read_bytes(index), self.paths[index])


def _images_below(folder: Path) -> list[Path]:
    found = []
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        found += [Path(directory, name) for name in sorted(names) if name.lower().endswith(EXTENSIONS)]
    return found


def open_source(root: str | Path) -> ImageSource:
    """Read a packed set, ROOT/CLASS/**/image as class folders, or ROOT/image as a flat folder of unlabelled images.

    Raises:
        UserError: the folder is missing, holds no image, or is a damaged packed set.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"image folder {root} does not exist: set data.root to a folder of images or of class folders.")
    if is_packed(root):
        return _open_packed(root)
    flat = [path for path in sorted(root.iterdir()) if path.is_file() and path.name.lower().endswith(EXTENSIONS)]
    if flat:
        return ImageSource(root, tuple(flat), None, ())
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    per_class = [_images_below(root / name) for name in classes]
    paths = tuple(path for found in per_class for path in found)
    if not paths:
        raise UserError(f"image folder {root} holds no image ({', '.join(EXTENSIONS)}): check data.root.")
    labels = tuple(label for label, found in enumerate(per_class) for _ in found)
    return ImageSource(root, paths, labels, tuple(classes))


def _open_packed(root: Path) -> ImageSource:
    packed = open_packed(root)
    paths, classes = tuple(root / name for name in packed.names), tuple(packed.header["classes"])
    labels = tuple(packed.labels.tolist()) if classes else None
    return ImageSource(root, paths, labels, classes, packed, tuple(range(len(paths))))


def read_image(source: ImageSource, index: int) -> Image.Image:
    """One image as an RGB picture.

    Raises:
        UnreadableImage: missing, empty, cut short, damaged or no image.
    """
    return Image.fromarray(source.read_pixels(index))
