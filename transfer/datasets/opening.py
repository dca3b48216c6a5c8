"""A public data set from the user's folder: its published splits, held against the published counts before all else."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from pretrain.data.compact import Ints, Paths, Strings
from pretrain.data.folders.root import check_folder
from pretrain.data.sources import ImageSource
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable, shortened
from transfer.datasets.benchmark import NONE, Benchmark, Listing
from transfer.datasets.labelled import Labelled

SHOWN = 3  # first differences that a message names
# what torchvision's readers of lists raise on files that are missing, cut short or of another version
MISREAD = (OSError, RuntimeError, ImportError, ValueError, LookupError, TypeError, AttributeError, EOFError)


def open_benchmark(benchmark: Benchmark, root: Path) -> Labelled:
    """Train and validation splits together as `train`, the test split as `val`.

    Raises:
        UserError: the folder is missing, or what it holds is not the published set: with counts and first differences.
    """
    splits = read_splits(benchmark, root)
    if found := faults(benchmark, splits):
        raise UserError(
            f"{benchmark.title or 'the set'} below {root} is another version or not complete: {'; '.join(found)}; see "
            f"where its files come from with `python tools/prepare_data.py transfer {root}`."
        )
    test = splits.pop("test")
    order = sorted((name, split, place) for split, one in splits.items() for place, name in enumerate(one.names))
    train, marks = _together(splits, order)
    chosen_on = [at for at, (_, split, _) in enumerate(order) if split == "val"] if "val" in splits else None
    return Labelled(
        benchmark.title or printable(root.resolve().name),
        train,
        _source(test, test.names, test.labels, range(len(test.names))),
        None if marks is None or test.marks is None else (marks, test.marks),
        benchmark.name,
        benchmark.source != NONE,
        benchmark.metric,
        None if chosen_on is None else tuple(chosen_on),
        benchmark.held_out,
    )


def _together(
    splits: dict[str, Listing], order: Sequence[tuple[str, str, int]]
) -> tuple[ImageSource, np.ndarray | None]:
    """The images of several splits as one source, in `order` (name, split, place), and their marks in it."""
    first = next(iter(splits.values()))
    assert first.store is None or len(splits) == 1, "two stores are not one"
    names = [name for name, _, _ in order]
    if first.marks is None:
        labels = [splits[split].labels[place] for _, split, place in order]
        return _source(first, names, labels, [place for *_, place in order]), None
    rows = [splits[split].marks[place] for _, split, place in order]  # type: ignore[index]  # all have marks
    return _source(first, names, range(len(order)), range(len(order))), np.stack(rows)


def _source(one: Listing, names: Sequence[str], labels: Iterable[int], places: Iterable[int]) -> ImageSource:
    """Some images of a listing. Args: names, their own; labels of each; places, of each in the listing's store."""
    about = f"{printable(str(one.root))}: {len(names)} images in {len(one.classes)} classes"
    paths = Paths.below(one.root, Strings.of(names))
    kept = None if one.store is None else Ints(places)
    return ImageSource(one.root, paths, Ints(labels), one.classes, one.store, kept, about, "benchmark")


def read_splits(benchmark: Benchmark, root: Path) -> dict[str, Listing]:
    """What the files below `root` say of each split.

    Raises:
        UserError: they are missing, or cannot be read.
    """
    check_folder(root, "the folder that holds the data sets, as torchvision's root")
    try:
        return {split: benchmark.read(root, split) for split in benchmark.counts}
    except UserError:
        raise
    except MISREAD as error:
        raise UserError(f"{benchmark.title} below {root} cannot be read: {_why(benchmark, root, error)}.") from error


def _why(benchmark: Benchmark, root: Path, error: Exception) -> str:
    """What a reader's exception means to the user, without a full stop."""
    place = root / benchmark.folder
    told = shortened(" ".join(str(error).split()).rstrip("."), 200)
    if not benchmark.is_there(root):
        return f"{place} does not exist; `python tools/prepare_data.py transfer {root}` says what belongs there"
    if isinstance(error, FileNotFoundError):
        return f"its list {error.filename} is missing"
    if isinstance(error, ImportError) or "Scipy" in told:
        return "its lists need scipy: run `pip install scipy`"
    if isinstance(error, KeyError):
        return f"its lists name the class {told}, which is none of its classes"
    if isinstance(error, RuntimeError):  # torchvision's word for a missing part and for another checksum alike
        return f"a part of {place} is missing, or is not the published file"
    return f"its lists below {place} are damaged or of another version ({type(error).__name__}: {told})"


def faults(benchmark: Benchmark, splits: dict[str, Listing]) -> list[str]:
    """How what was read differs from what is published: counts first, then the first images or classes that do."""
    found: list[str] = []
    for split, one in splits.items():
        expected = benchmark.counts[split]
        if expected and len(one.names) != expected:
            found.append(f"{split} lists {len(one.names):,} images instead of {expected:,}{_uneven(benchmark, one)}")
        if benchmark.classes and len(one.classes) != benchmark.classes:
            found.append(f"{split} has {len(one.classes)} classes instead of {benchmark.classes}")
        if strange := [name for name, label in _labelled(one) if not 0 <= label < len(one.classes)]:
            found.append(f"{split} has {len(strange)} images with a label of no class, first {shortened(strange[0])}")
        if absent := _absent(one):
            found.append(f"{len(absent):,} images of {split} are missing, first {_first(absent)}")
    first, *others = splits.values()
    for one in others:
        if other := sorted(set(one.classes) ^ set(first.classes)):
            found.append(f"its splits have different classes, first {_first(other)}")
    names = Counter(name for one in splits.values() for name in one.names)
    if twice := [name for name, count in names.items() if count > 1]:
        found.append(f"{len(twice)} images are in two splits, first {_first(twice)}")
    return found


def _labelled(one: Listing) -> Iterable[tuple[str, int]]:
    return zip(one.names, one.labels, strict=True) if one.marks is None else ()


def _uneven(benchmark: Benchmark, one: Listing) -> str:
    """The first classes without their published number of images, where every class has the same."""
    if not benchmark.even or one.marks is not None:
        return ""
    counted = Counter(one.labels)
    usual = Counter(counted.values()).most_common(1)[0][0] if counted else 0
    other = [f"{one.classes[label]} ({counted[label]})" for label in sorted(counted) if counted[label] != usual]
    return f" (most classes have {usual}, but not {_first(other)})" if other else ""


def _absent(one: Listing) -> list[str]:
    """Names that are listed and not there; each folder is read once, no image is looked at."""
    if one.store is not None:
        return []
    folders: dict[str, set[str]] = defaultdict(set)
    for name in one.names:
        path = PurePosixPath(name)
        folders[str(path.parent)].add(path.name)
    absent: list[str] = []
    for folder, names in sorted(folders.items()):
        try:
            there = set(os.listdir(one.root / folder))
        except OSError:
            there = set()
        absent += [f"{folder}/{name}" for name in sorted(names - there)]
    return absent


def _first(names: Sequence[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(shortened(name) for name in names[:SHOWN]) + rest
