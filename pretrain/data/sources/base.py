"""What a set of images is, whatever keeps them: the protocols of a kind, and the one view that callers have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from pretrain.data.compact import taken
from pretrain.data.decode import DEEPEST, decode, read_file
from pretrain.data.files import Kept
from pretrain.data.files.local import state_of
from pretrain.runtime.urls import spelled

ASK = "data.class_depth="  # how a user of pretraining says it
URL_CACHE_GIB = 32.0


class Source(Protocol):
    """Images with random access: what a loader, a cache and a report ask of any kind."""

    def __len__(self) -> int:
        """Number of images."""

    def key(self, index: int) -> str:
        """The name of an image: another one for each, and the same wherever the set lies."""

    def label(self, index: int) -> int | None:
        """Class index of an image; None in a set without classes."""

    def read_bytes(self, index: int) -> bytes:
        """An image's file. Raises UnreadableImage."""

    def fingerprint(self, index: int) -> object:
        """What changes where the image's bytes do, found without reading them; its text is compared."""


class Store(Protocol):
    """Where a kind keeps its images' bytes, by the places that it counts them by itself."""

    def read_bytes(self, place: int) -> bytes:
        """The bytes of one image's file. Raises UnreadableImage."""

    def fingerprint(self, place: int) -> object:
        """As of Source."""


@dataclass(frozen=True)
class Reading:
    """What a user may say of how a set is read, beside where it lies; the options of that name say what each means."""

    images_root: str = ""
    image_column: str = ""
    label_column: str = ""
    weights: Sequence[float] = ()
    index_cache: str = ""
    url_cache: str = ""
    url_cache_gib: float = URL_CACHE_GIB

    def without_columns(self) -> Reading:
        """For a root that has none, beside one that has."""
        return replace(self, image_column="", label_column="")

    @property
    def kept(self) -> Kept:
        """Of what URLs give."""
        return Kept(self.url_cache, self.url_cache_gib)

    @classmethod
    def of(cls, section: object) -> Reading:
        """From a section of options that has some of these names."""
        return cls(**{one.name: getattr(section, one.name) for one in fields(cls) if hasattr(section, one.name)})


@dataclass(frozen=True)
class Asked:
    """A set that somebody wants to read.

    root: as it was given. class_depth: how many folders name the class, 0 where that was not said. labelled: refuse
    what gives no sure labels. ask: how the user says a class depth. reading: what else was said.
    """

    root: str
    class_depth: int = 0
    labelled: bool = False
    ask: str = ASK
    reading: Reading = field(default_factory=Reading)

    @property
    def path(self) -> Path:
        """The root as a path."""
        return Path(self.root)

    def option(self, name: str) -> str:
        """How the user says the option `name`, up to its value."""
        return self.ask.replace("class_depth", name).replace("class-depth", name.replace("_", "-"))


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    name: a word. meaning: what such a root is, for messages. takes: whether a root is of this kind, by its name and
    what lies there. open: reads it; raises UserError in one sentence. parts: what the files of one part of a set are
    called, with {} for "train" or "val". folders: whether a root may go on to a folder inside the file. columns:
    whether a root of it has columns, or arrays by name.
    """

    name: str
    meaning: str
    takes: Callable[[str], bool]
    open: Callable[[Asked], ImageSource]
    parts: tuple[str, ...] = ()
    folders: bool = False
    columns: Callable[[str], bool] = lambda root: False


@dataclass(frozen=True)
class ImageSource:
    """The images of one set, of any kind; what there is one of for each image is kept in arrays (compact.py).

    paths: one file an image, sorted; those of a set that is no files lie below its root and need not exist.
    labels: class index of each, or None for a set without labels. classes: names in sorted order, empty without labels.
    store, places: what holds the images, and where in it; None for files. about: one line that says how many images and
    classes there are, and what was left out. kind: its name. names: keys of the images, where they are not the paths
    below the root. mixture: of several roots with weights, the order of an epoch (mixture.py). bits: of deep greys
    that are in use (decode.py).
    """

    root: Path
    paths: Sequence[Path]
    labels: Sequence[int] | None
    classes: tuple[str, ...]
    store: Store | None = None
    places: Sequence[int] | None = None
    about: str = ""
    kind: str = "folder"
    names: Sequence[str] | None = None
    mixture: Any = None
    bits: int = DEEPEST

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Sequence[int]) -> ImageSource:
        """The same set with no more than the images at `indices`, in their order."""
        return replace(
            self,
            paths=taken(self.paths, indices),
            labels=None if self.labels is None else taken(self.labels, indices),
            places=None if self.places is None else taken(self.places, indices),
            names=None if self.names is None else taken(self.names, indices),
            mixture=None,
        )

    @property
    def where(self) -> str:
        """The root in words."""
        return spelled(self.root)

    def key(self, index: int) -> str:
        """The name of an image: its path below the root, with slashes."""
        return self.paths[index].relative_to(self.root).as_posix() if self.names is None else self.names[index]

    def label(self, index: int) -> int | None:
        """Class index of an image; None in a set without classes."""
        return None if self.labels is None else self.labels[index]

    def read_bytes(self, index: int) -> bytes:
        """The bytes of one image's file.

        Raises:
            UnreadableImage: the file is missing or cannot be read, or the bytes that a store keeps have changed.
        """
        if self.store is not None:
            assert self.places is not None, "a store knows where its images are"
            return self.store.read_bytes(self.places[index])
        return read_file(self.paths[index])

    def fingerprint(self, index: int) -> object:
        """Size and modification time of an image's file, or what its store knows; None where the file is missing."""
        if self.store is not None:
            assert self.places is not None, "a store knows where its images are"
            return self.store.fingerprint(self.places[index])
        return state_of(self.paths[index])

    def read_pixels(self, index: int) -> np.ndarray:
        """Pixels of one image, uint8 (H, W, 3).

        Raises:
            UnreadableImage: missing, empty, cut short, damaged or no image.
        """
        return decode(self.read_bytes(index), spelled(self.paths[index]), self.bits)


def read_image(source: ImageSource, index: int) -> Image.Image:
    """One image as an RGB picture.

    Raises:
        UnreadableImage: missing, empty, cut short, damaged or no image.
    """
    return Image.fromarray(source.read_pixels(index))
