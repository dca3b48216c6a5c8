"""Few labels: the part of a training set that a file list names, or a class-balanced share of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from PIL import Image

from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from transfer.features.pictures import Pictures, batches_of, loader, room_of
from transfer.options import WAIT

SIMCLR = {  # google-research/simclr, imagenet_subsets/: SHA-256 and name
    "1percent.txt": ("71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17", "SimCLR's 1 % list"),
    "10percent.txt": ("6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091", "SimCLR's 10 % list"),
}
FIRST = 3  # absent names that are told
LOOKED_AT = 64  # images that a worker decodes at a time


@dataclass(frozen=True)
class Subset:
    """Some images of a source, with all of its classes; counts says how they were chosen, for the result file."""

    source: ImageSource
    counts: dict[str, int]


def _restrict(source: ImageSource, indices: list[int]) -> ImageSource:
    assert source.labels is not None
    return source.select(indices)


def list_name(path: str | Path) -> str:
    """What a list is called: SimCLR's by its checksum, others by their file names.

    Raises:
        UserError: a file under the name of one of SimCLR's lists that is not it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} cannot be read as a list of image names: it is not a file.")
    found = sha256_of(path)
    if path.name in SIMCLR and found != SIMCLR[path.name][0]:
        raise UserError(
            f"{path} is not {SIMCLR[path.name][1]} (its sha256 begins with {found[:8]}, not with "
            f"{SIMCLR[path.name][0][:8]}): fetch imagenet_subsets/ of google-research/simclr again, or give a list of "
            "your own another name."
        )
    return next((f"{name} ({path.name})" for sha256, name in SIMCLR.values() if sha256 == found), path.name)


def from_list(source: ImageSource, path: str | Path, max_absent: float = 1.0) -> Subset:
    """The images of `source` that a text file names, one a line, such as SimCLR's n04235860_14959.JPEG.

    A name is matched by its stem, whatever the extension on disk; CLASS/NAME also by its folder. A stem that several
    classes hold belongs to the class that its own prefix (up to the last underscore) names. Names that the source does
    not hold are counted: counts has listed, absent, and absent_of_known_classes for those whose class it does hold.

    Args: max_absent, the share of names that may be absent, among those whose class the source holds.

    Raises:
        UserError: the list is missing, not text or empty; none of its names, or too few, are there; or a name is
            ambiguous.
    """
    wanted = _read_list(Path(path))
    assert source.labels is not None
    by_stem: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(source.paths):
        by_stem[image.stem].append(index)
    found: set[int] = set()
    absent: list[str] = []
    for name in wanted:
        matches = _matches(name, by_stem, source)
        if len(matches) > 1:
            held = ", ".join(sorted(source.classes[source.labels[index]] for index in matches))
            raise UserError(f"{path}: '{name}' names {len(matches)} images (in {held}): write it as CLASS/NAME.")
        found.update(matches)
        absent += [] if matches else [name]
    if not found:
        raise UserError(
            f"none of the {len(wanted)} names in {path} (the first is '{wanted[0]}') is an image under {source.where}: "
            "give the list of this data set, or draw one with fraction=0.01."
        )
    classes = {_last(name) for name in source.classes}
    known = [name for name in absent if _class_of(name) in classes]
    if len(known) > max_absent * (len(known) + len(found)):
        raise UserError(
            f"{len(known)} of the {len(known) + len(found)} names in {path} that are of classes of {source.where} have "
            f"no image there, such as {', '.join(known[:FIRST])}: complete the images, or allow it "
            "with max_absent=SHARE."
        )
    counts = {"listed": len(wanted), "absent": len(absent), "absent_of_known_classes": len(known)}
    return Subset(_restrict(source, sorted(found)), counts)


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of image names ({error}): give a text file.") from error
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise UserError(f"{path} names no image: write one file name a line, such as n04235860_14959.JPEG.")
    return names


def _class_of(name: str) -> str:
    """The class that a listed name says it has: its folder, or what stands before its last underscore."""
    folder = PurePosixPath(name).parent.name
    return folder or PurePosixPath(name).stem.rpartition("_")[0]


def _last(name: str) -> str:
    """The last folder of a class, which may be named by several."""
    return PurePosixPath(name).name


def _matches(name: str, by_stem: dict[str, list[int]], source: ImageSource) -> list[int]:
    assert source.labels is not None
    candidates = by_stem.get(PurePosixPath(name).stem, [])
    of_class = [index for index in candidates if _last(source.classes[source.labels[index]]) == _class_of(name)]
    if PurePosixPath(name).parent.name:
        return of_class
    return of_class or candidates


def check_classes(labelled: ImageSource) -> None:
    """Refuse labelled images that lack a class.

    Raises:
        UserError: counting the classes that have no labelled image and naming the first ones.
    """
    assert labelled.labels is not None
    used = set(labelled.labels)
    without = [name for label, name in enumerate(labelled.classes) if label not in used]
    if without:
        raise UserError(
            f"{len(without)} of {len(labelled.classes)} classes have no labelled image, such as "
            f"{', '.join(without[:FIRST])}: label at least one of each, or take their folders away."
        )


CPU = torch.device("cpu")


def readable(source: ImageSource, workers: int, minutes: float = WAIT) -> tuple[ImageSource, list[str]]:
    """The images of `source` that can be decoded, and why each of the others cannot; ranks share the looking.

    Args: workers, loader processes. minutes, how long the next images may take to come.

    Looked at before training, so that every batch of it is whole: ranks that share a batch norm need equal shares.
    """
    mine = list(range(distributed.rank(), len(source), distributed.world_size()))
    found: dict[int, str] = {}
    batches = batches_of(mine, LOOKED_AT)
    looked_at = loader(Pictures(source, _speck), batches, workers, CPU, minutes, room_of(LOOKED_AT, 1, workers))
    for batch, (_, read, reasons) in zip(batches, looked_at, strict=True):
        missing = sorted({index for _, index in batch} - set(read.tolist()))
        found |= dict(zip(missing, reasons, strict=True))
    unreadable = {at: reason for part in distributed.gathered(found) for at, reason in part.items()}
    kept = [at for at in range(len(source)) if at not in unreadable]
    return (source.select(kept) if unreadable else source), [unreadable[at] for at in sorted(unreadable)]


def _speck(image: Image.Image) -> Image.Image:
    """Of an image that is only looked at, next to nothing is kept."""
    return image.crop((0, 0, 1, 1))


def from_fraction(source: ImageSource, fraction: float, seed: int) -> Subset:
    """The same number of images of every class: `fraction` of the mean class size, rounded, at least one.

    Drawn from `seed`; of one seed, a smaller fraction is contained in a larger one. A class that is smaller than that
    number gives all its images. A fraction of 1 is the whole source.

    Raises:
        UserError: fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"fraction={fraction} must be above 0 and at most 1.")
    assert source.labels is not None
    if fraction == 1:
        return Subset(source, {})
    sizes = Counter(source.labels)
    each = max(1, round(fraction * len(source) / len(sizes)))
    generator = torch.Generator().manual_seed(seed)
    labels, chosen = torch.tensor(source.labels), []
    for label in sorted(sizes):
        members = (labels == label).nonzero()[:, 0]
        chosen += members[torch.randperm(len(members), generator=generator)[:each]].tolist()
    return Subset(_restrict(source, sorted(chosen)), {"per_class": each})
