"""Where the images of a set lie: class folders, a flat folder of unlabelled images, or a packed set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.data.classes import Layout, layout_of
from pretrain.data.compact import Ints, Paths, taken
from pretrain.data.decode import decode, endings, read_file
from pretrain.data.packed import PackedSet, is_packed, open_packed
from pretrain.data.root import ARCHIVES, check_folder
from pretrain.data.walk import walk
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable

COMMON = ".jpg, .png, .webp, .tif"  # endings that a message names
MEANING = "a folder of images or of class folders, or a packed set"


@dataclass(frozen=True)
class ImageSource:
    """Where the images of one set lie; what there is one of for each image is kept in arrays (compact.py).

    paths: one file an image, sorted; those of a packed set have its folder for a root and need not exist.
    labels: class index of each, or None for a flat folder. classes: folder names in sorted order, empty for a flat
    folder. packed, places: the packed set that holds the images, and where in it; None for files. about: one line that
    says how many images and classes there are, and what was left out.
    """

    root: Path
    paths: Sequence[Path]
    labels: Sequence[int] | None
    classes: tuple[str, ...]
    packed: PackedSet | None = None
    places: Sequence[int] | None = None
    about: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Sequence[int]) -> ImageSource:
        """The same set with no more than the images at `indices`, in their order."""
        return replace(
            self,
            paths=taken(self.paths, indices),
            labels=None if self.labels is None else taken(self.labels, indices),
            places=None if self.places is None else taken(self.places, indices),
        )

    def read_bytes(self, index: int) -> bytes:
        """The bytes of one image's file.

        Raises:
            UnreadableImage: the file is missing or cannot be read, or the packed bytes have changed.
        """
        if self.packed is not None:
            assert self.places is not None, "a packed set knows where its images are"
            return self.packed.read_bytes(self.places[index])
        return read_file(self.paths[index])

    def read_pixels(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 (H, W, 3).

        Raises:
            UnreadableImage: missing, empty, cut short, damaged or no image.
        """
        return decode(self.read_bytes(index), self.paths[index])


def open_source(
    root: str | Path, class_depth: int = 0, labelled: bool = False, ask: str = "data.class_depth="
) -> ImageSource:
    """Read a packed set, class folders, or a flat folder of unlabelled images.

    Of class folders the class is the outermost folder that holds images, where all of these are equally deep. Where
    that is not sure, the images have no labels.

    Args:
        root: the folder.
        class_depth: how many folders below the root name the class; 0 leaves it to the rule above.
        labelled: refuse class folders whose depth is not sure, rather than give no labels.
        ask: how the user says a class depth, for messages.

    Raises:
        UserError: the folder is missing, a file, cannot be read or holds no image, mixes loose images with class
            folders, or is a damaged packed set.
    """
    root = Path(root)
    check_folder(root, MEANING)
    if is_packed(root):
        return _open_packed(root)
    tree = walk(root, endings())
    if not tree.images:
        raise UserError(f"{root} holds no image ({COMMON} and the like){tree.omissions()}: {_remedy(tree.left_out)}.")
    found = layout_of(tree, class_depth, labelled, ask)
    about = f"{printable(str(root))}: {found.counts(len(tree.images))}{tree.omissions()}"
    return ImageSource(root, tree.images, found.labels, found.classes, about=about)


def _remedy(left_out: Iterable[str]) -> str:
    packed = any(kind in ARCHIVES for kind in left_out)
    return "unpack its archives" if packed else f"give {MEANING}"


def _open_packed(root: Path) -> ImageSource:
    packed = open_packed(root)
    paths, classes = Paths.below(root, packed.names), tuple(packed.header["classes"])
    labels = Ints(packed.labels) if classes else None
    about = f"{printable(str(root))}: {Layout(labels, classes, 0).counts(len(paths))}, packed"
    return ImageSource(root, paths, labels, classes, packed, Ints(np.arange(len(paths))), about)


def read_image(source: ImageSource, index: int) -> Image.Image:
    """One image as an RGB picture.

    Raises:
        UnreadableImage: missing, empty, cut short, damaged or no image.
    """
    return Image.fromarray(source.read_pixels(index))
