"""ImageNet (ILSVRC 2012) as class folders: a tar of tars for training, a flat tar and a list of classes for val."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path, PurePosixPath

from pretrain.data.folders.walk import is_hidden
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, write_json
from pretrain.runtime.names import path_inside
from tools.datasets.unpacking import archives as unpacking
from tools.datasets.unpacking.archives import Archive, in_one_sentence, write_member
from tools.datasets.unpacking.benchmark import Benchmark, as_dataset
from tools.datasets.unpacking.completeness import first_names, missing_or_short, wrong_count
from tools.datasets.unpacking.members import Member, members, survey

CLASSES, TRAIN, VAL = 1000, 1_281_167, 50_000
FEWEST = 732  # training images of a class
VAL_CLASSES = "val_classes.json"  # the class of every validation image, in the order of their numbers
TRUTH, META = "data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat"
LARGEST_TABLE = 64 << 20  # bytes; the kit's own are below one MB


def place(name: str) -> str:
    """Where a member goes that is not an archive itself; `unpack` knows better for val."""
    return f"imagenet/{PurePosixPath(name).name}"


def unpack(archive: Archive, folder: Path, root: Path, verify: bool = True) -> None:
    """As `archives.unpack`: training archives class by class, validation images into the folders of their class.

    Args:
        archive: one of those below.
        folder: where it lies.
        root: the folder to fill.
        verify: hold it against its digest.

    Raises:
        UserError: also where the development kit, which knows the classes of val, is not there before val.
    """
    path = folder / archive.name
    if "devkit" in archive.name:
        with in_one_sentence(path):
            if verify:
                unpacking.check_digest(path, archive.digest)
            write_json(root / "imagenet" / VAL_CLASSES, val_classes(path))
    elif "val" in archive.name:
        listing = root / "imagenet" / VAL_CLASSES
        if not listing.is_file():
            raise UserError(
                f"{path} does not say the classes of its images: put ILSVRC2012_devkit_t12.tar.gz into {folder}."
            )
        classes = read_json(listing, "the list of the classes of ImageNet's validation images")
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise UserError(f"{listing} is damaged: remove it, and unpack the development kit again.")
        for name in set(classes):
            path_inside(root / "imagenet" / "val", name, listing)
        sorted_in = Archive(archive.name, archive.digest, partial(_place_val, classes=classes))
        unpacking.unpack(sorted_in, folder, root, verify)
    else:
        unpacking.unpack(Archive(archive.name, archive.digest, place), folder, root, verify, write=_write_classes)


def _place_val(name: str, classes: list[str]) -> str | None:
    """ILSVRC2012_val_00000001.JPEG is the first image of the list."""
    stem = PurePosixPath(name).stem
    number = stem.rpartition("_")[2]
    if not number.isdigit() or not 1 <= int(number) <= len(classes):
        return None
    return f"imagenet/val/{classes[int(number) - 1]}/{PurePosixPath(name).name}"


def _write_classes(path: Path, found: list[Member], root: Path, _: object) -> None:
    """WNID.tar by WNID.tar; images that are there with their full size are left alone."""
    for member in found:
        wnid = PurePosixPath(member.name).stem
        here = partial(_place_train, wnid=wnid)
        with member.open() as holder:
            survey(path, members(path, holder, member.size), root, here, member.size)
        with member.open() as holder:
            for image in members(path, holder, member.size):
                write_member(image, path_inside(root, here(image.name), path))


def _place_train(name: str, wnid: str) -> str:
    return f"imagenet/train/{wnid}/{name}"


def val_classes(devkit: Path) -> list[str]:
    """The WNID of every validation image, from the development kit.

    Raises:
        UserError: scipy, which reads the kit's tables, is not installed; or the kit lacks them.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UserError("reading ImageNet's development kit needs scipy: run `pip install scipy`.") from error
    try:
        tables = {
            name: member.open().read(LARGEST_TABLE)
            for member in members(devkit)
            for name in (TRUTH, META)
            if member.name.endswith(name)
        }
        synsets = loadmat(io.BytesIO(tables[META]), squeeze_me=True)["synsets"]
        names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if int(row["num_children"]) == 0}
        return [names[int(line)] for line in tables[TRUTH].split()]
    except UserError:
        raise
    except Exception as error:  # scipy's reader raises many types; each means the same to the user
        reason = " ".join(str(error).split())
        raise UserError(f"{devkit} is not ImageNet's development kit or is damaged ({reason}).") from error


def faults(root: Path) -> list[str]:
    """What is missing of imagenet/{train,val}/WNID/*.JPEG."""
    sentences = []
    for split, expected in (("train", TRAIN), ("val", VAL)):
        folder = root / "imagenet" / split
        classes = [path for path in _shown(folder) if path.is_dir()] if folder.is_dir() else []
        images = {path.name: [image.name for image in _shown(path) if image.suffix == ".JPEG"] for path in classes}
        sentences += wrong_count(len(classes), CLASSES, f"{folder} holds classes")
        sentences += wrong_count(sum(map(len, images.values())), expected, f"{folder} holds images")
        least = FEWEST if split == "train" else VAL // CLASSES
        short = [f"{name} ({len(found)})" for name, found in images.items() if len(found) < least]
        if short:
            sentences.append(f"{folder}: {len(short)} classes hold fewer than {least} images: {first_names(short)}")
        names = [f"{name}/{image}" for name, found in images.items() for image in found]
        sentences += missing_or_short(folder, names, "images")
    return sentences


def _shown(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def archives() -> tuple[Archive, ...]:
    """The official archives with torchvision's MD5 sums; the development kit first, which val needs."""
    from torchvision.datasets.imagenet import ARCHIVE_META

    entries = (ARCHIVE_META[key] for key in ("devkit", "val", "train"))
    return tuple(Archive(name, f"md5:{digest}", place) for name, digest in entries)


BENCHMARK = Benchmark("imagenet", archives, faults, unpack=unpack)
DATASET = as_dataset(BENCHMARK)
