"""The lists that torchvision's data sets read from a folder: which images a split has, and the class of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transfer.datasets.benchmark import Listing


def listing(found: Any, root: Path, images: str = "_image_files", labels: str = "_labels") -> Listing:
    """What one of torchvision's data sets has read, without opening an image.

    torchvision offers no such list, so that two of its own variables are read.

    Args:
        found: the data set, made with download=False.
        root: a folder that all of its images lie below.
        images: its variable that holds their paths.
        labels: its variable that holds their class indices.
    """
    paths, numbers = (_variable(found, name) for name in (images, labels))
    return Listing(root, [_below(root, path) for path in paths], [int(one) for one in numbers], tuple(found.classes))


def _variable(found: Any, name: str) -> Sequence[Any]:
    assert hasattr(found, name), f"torchvision's {type(found).__name__} has no {name} any more: name its new one"
    values: Sequence[Any] = getattr(found, name)
    return values


def _below(root: Path, path: str | Path) -> str:
    return Path(path).relative_to(root).as_posix()
