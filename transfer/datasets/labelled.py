"""Labelled images of train and val, with one numbering of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pretrain.data.folders.root import check_folder
from pretrain.data.sources import ImageSource, Reading, kind_of, open_source, part_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable
from pretrain.runtime.urls import is_url, spelled, split

SHOWN = 6  # folders that a message names


@dataclass(frozen=True)
class Labelled:
    """What is learnt from and what is judged; val's labels are indices into train's classes.

    Args:
        name: as results have it.
        train: ROOT/train; of a public set (benchmark.py) its train and validation splits together.
        val: ROOT/val; of a public set its test split.
        marks: of images that show several classes, int8 (images, classes) of train and of val: 1 where a class is
            there, 0 where it is not, and -1 where all of its objects are difficult. `labels` then says nothing.
        benchmark: the public set's name, "" for the user's own folders.
        published: whether splits and metric are those of SimCLR and BYOL.
        metric: one of benchmark.METRICS, in which results are published.
        chosen_on: places in train of the published validation split; None where none is published.
        label_images: of images with a class or a depth at each pixel, those of train and of val by the images' keys.
        first_label: their value of the first class.
        held_out: the share of train that is then held out to choose settings on; 0 leaves it to the evaluator.
    """

    name: str
    train: ImageSource
    val: ImageSource
    marks: tuple[np.ndarray, np.ndarray] | None = None
    benchmark: str = ""
    published: bool = False
    metric: str = "top1"
    chosen_on: tuple[int, ...] | None = None
    held_out: float = 0.0
    label_images: tuple[Mapping[str, Path], Mapping[str, Path]] | None = None
    first_label: int = 0

    def of_bits(self, bits: int) -> Labelled:
        """The same images, whose deep greys use so many bits (pretrain/data/decode.py)."""
        return replace(self, train=replace(self.train, bits=bits), val=replace(self.val, bits=bits))


def open_labelled(root: str | Path, class_depth: int = 0, reading: Reading | None = None) -> Labelled:
    """Read ROOT/train/CLASS/image and ROOT/val/CLASS/image, or train and val as other sources with labels.

    Args: class_depth, how many folders below train and val name the class; 0 refuses where it is not sure. reading,
        what else is said of how they are read.

    Raises:
        UserError: a folder is missing, empty or flat, there is a single class, or val has a class that train has not.
    """
    root = spelled(root)
    if not kind_of(root).folders:
        check_folder(root, "the folder that holds train/CLASS/ and val/CLASS/")
    parts = [part_of(root, part) for part in ("train", "val")]
    for part, found in zip(("train", "val"), parts, strict=True):
        if found is None:
            there = ", ".join(sorted(path.name for path in Path(root).iterdir() if path.is_dir())[:SHOWN])
            raise UserError(
                f"{root} has no folder {part}{f' (it has {there})' if there else ''}: give the folder that "
                "holds train/CLASS/ and val/CLASS/."
            )
    train, val = map(str, parts)
    name = Path(split(root)[0] if is_url(root) else root).resolve().name
    return Labelled(printable(name), *open_pair(train, val, class_depth, reading))


def open_pair(
    train_root: str | Path, val_root: str | Path, class_depth: int = 0, reading: Reading | None = None
) -> tuple[ImageSource, ImageSource]:
    """Two sets with labels, (train, val), with one numbering of the classes, that of train.

    Args:
        train_root, val_root: where they lie.
        class_depth: how many folders below each root name the class; 0 refuses where it is not sure.
        reading: what else is said of how they are read; weights are for training alone.

    Raises:
        UserError: a folder is missing, empty or flat, there is a single class, or val has a class that train has not.
    """
    reading = replace(reading or Reading(), weights=())
    has = [kind_of(root).columns(spelled(root)) for root in (train_root, val_root)]
    train, val = (
        open_source(root, class_depth, True, reading=reading.without_columns() if any(has) and not own else reading)
        for root, own in zip((train_root, val_root), has, strict=True)
    )
    for source in (train, val):
        if source.labels is None:
            raise UserError(
                f"{source.where} is a flat folder without labels: evaluation needs one folder a class in it."
            )
    assert val.labels is not None
    used = {val.classes[label] for label in val.labels}
    unknown = sorted(used - set(train.classes))
    if unknown:
        raise UserError(
            f"{val.where} has {len(unknown)} class folders that {train.where} has not, such as "
            f"'{unknown[0]}': both must hold the same classes{_empty_here(unknown[0], train)}."
        )
    if len(train.classes) < 2:
        name = train.classes[0]
        raise UserError(f"{train.where} holds the single class '{name}': classification needs at least two.")
    index = {name: position for position, name in enumerate(train.classes)}
    labels = tuple(index[val.classes[label]] for label in val.labels)
    return train, replace(val, labels=labels, classes=train.classes)


def _empty_here(name: str, source: ImageSource) -> str:
    """Why a class is missing, where its folder is there without images."""
    return f" (the folder is there in {source.root.name}, and holds no image)" if (source.root / name).is_dir() else ""


def thinned(source: ImageSource, most: int) -> ImageSource:
    """At most `most` images, evenly spaced in the sorted list, so that every class keeps its share of them."""
    assert source.labels is not None
    kept = range(len(source)) if len(source) <= most else [place * len(source) // most for place in range(most)]
    return source.select(kept)
