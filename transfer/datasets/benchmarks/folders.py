"""Own folders: ROOT/train/CLASS, ROOT/val/CLASS on which settings are chosen, and ROOT/test/CLASS."""

from __future__ import annotations

from pathlib import Path

from pretrain.runtime.errors import UserError
from transfer.datasets.benchmark import NONE, Benchmark, Listing
from transfer.datasets.labelled import open_pair


def read(root: Path, split: str) -> Listing:
    """The images of one of the three folders, with the classes of train.

    Raises:
        UserError: a folder is missing, or holds a class that train has not.
    """
    for part in ("train", "val", "test"):
        if not (root / part).is_dir():
            raise UserError(
                f"{root} has no folder {part}: sets=[folders] reads train/CLASS/, val/CLASS/ and test/CLASS/; "
                "leave it out for train and val alone."
            )
    other = "val" if split == "train" else split
    pair = open_pair(root / "train", root / other)
    source = pair[0] if split == "train" else pair[1]
    names = [f"{split}/{source.key(at)}" for at in range(len(source))]
    return Listing(root, names, list(source.labels or ()), source.classes)


BENCHMARKS = (
    Benchmark(
        "folders",
        "",
        ".",
        classes=0,
        counts={"train": 0, "val": 0, "test": 0},
        metric="top1",
        read=read,
        note="for Birdsnap and other sets that torchvision does not know",
        source=NONE,
    ),
)
