"""Labelled images of train and val, with one numbering of the classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pretrain.data.sources import ImageSource, open_source
from pretrain.runtime.errors import UserError


@dataclass(frozen=True)
class Labelled:
    """ROOT/train and ROOT/val as class folders; val's labels are indices into train's classes."""

    name: str
    train: ImageSource
    val: ImageSource


def open_labelled(root: str | Path) -> Labelled:
    """Read ROOT/train/CLASS/image and ROOT/val/CLASS/image.

    Raises:
        UserError: a folder is missing, empty or flat, there is a single class, or val has a class that train has not.
    """
    root = Path(root)
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise UserError(f"{root} has no folder {part}: give the folder that holds train/CLASS/ and val/CLASS/.")
    return Labelled(root.resolve().name, *open_pair(root / "train", root / "val"))


def open_pair(train_root: str | Path, val_root: str | Path) -> tuple[ImageSource, ImageSource]:
    """Two sets of class folders, (train, val), with one numbering of the classes, that of train.

    Raises:
        UserError: a folder is missing, empty or flat, there is a single class, or val has a class that train has not.
    """
    train, val = open_source(train_root), open_source(val_root)
    for source in (train, val):
        if source.labels is None:
            raise UserError(
                f"{source.root} is a flat folder without labels: evaluation needs one folder a class in it."
            )
    assert val.labels is not None
    used = {val.classes[label] for label in val.labels}
    unknown = sorted(used - set(train.classes))
    if unknown:
        raise UserError(
            f"{val.root} has {len(unknown)} class folders that {train.root} has not, such as '{unknown[0]}': both must "
            "hold the same classes."
        )
    if len(train.classes) < 2:
        raise UserError(f"{train.root} holds the single class '{train.classes[0]}': classification needs at least two.")
    index = {name: position for position, name in enumerate(train.classes)}
    labels = tuple(index[val.classes[label]] for label in val.labels)
    return train, replace(val, labels=labels, classes=train.classes)


def thinned(source: ImageSource, most: int) -> ImageSource:
    """At most `most` images, evenly spaced in the sorted list, so that every class keeps its share of them."""
    assert source.labels is not None
    kept = range(len(source)) if len(source) <= most else [place * len(source) // most for place in range(most)]
    return source.select(kept)
