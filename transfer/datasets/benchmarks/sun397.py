"""SUN397: scenes (Xiao et al., CVPR 2010), the first of its ten partitions into 19,850 images each."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_lines
from pretrain.runtime.names import path_inside
from transfer.datasets.benchmark import Benchmark, Listing, Remote
from transfer.datasets.listing import listing

FOLDER, PARTITIONS = "SUN397", "Partitions"
LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def read(root: Path, split: str) -> Listing:
    """One side of the first partition; torchvision's own class has all images and no splits.

    Raises:
        UserError: the partition is missing, or names a scene that is none of the classes.
    """
    from torchvision.datasets import SUN397

    whole = listing(SUN397(root, download=False), root / FOLDER)
    path = root / FOLDER / PARTITIONS / LISTS[split]
    names = [line.strip().lstrip("/") for line in read_lines(path, "a partition of SUN397") if line.strip()]
    label_of = {name: place for place, name in enumerate(whole.classes)}
    labels = []
    for name in names:
        path_inside(root / FOLDER, name, path, links=True)
        scene = "/".join(PurePosixPath(name).parts[1:-1])
        if scene not in label_of:
            raise UserError(f"{path} names {name}, whose scene '{scene}' is no class of {FOLDER}/ClassName.txt.")
        labels.append(label_of[scene])
    return Listing(root / FOLDER, names, labels, whole.classes)


def files() -> tuple[Remote, ...]:
    """The archive with torchvision's checksum, and the partitions, which torchvision does not know."""
    from torchvision.datasets import SUN397

    partitions = f"{SUN397._DATASET_URL.rpartition('/')[0]}/download/Partitions.zip"
    archive = Remote(SUN397._DATASET_URL, f"md5:{SUN397._DATASET_MD5}", lambda name: name)
    return archive, Remote(partitions, place=_place)


def _place(name: str) -> str | None:
    """The lists, whatever folder of the archive they lie in."""
    own = PurePosixPath(name).name
    return f"{FOLDER}/{PARTITIONS}/{own}" if own.endswith(".txt") else None


BENCHMARKS = (
    Benchmark(
        "sun397",
        "SUN397",
        FOLDER,
        classes=397,
        counts={"train": 19_850, "test": 19_850},
        metric="top1",
        read=read,
        held_out=0.2,
        even=True,
        files=files,
        note="of ten partitions the first",
    ),
)
