"""What a public data set says of itself: its published splits, how it is judged, where it lies and comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pretrain.data.sources.base import Store

NONE = "none"
METRICS = ("top1", "mean per class", "mAP 11-point")  # as results have them, in percent


@dataclass(frozen=True)
class Listing:
    """The N images of one published split.

    root: what the names start from. names: N of them, paths below `root`, or any keys where a store holds the images.
    labels: class index of each. classes: their names. marks: of images that show several classes, as of
    labelled.Labelled; `labels` then says nothing. store: what holds the images where they are no
    files, in the order of the names.
    """

    root: Path
    names: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]
    marks: np.ndarray | None = None
    store: Store | None = None


@dataclass(frozen=True)
class Remote:
    """A file of the publisher. digest: as torchvision knows it, "md5:..."; empty where it knows none.

    place: of an archive, a member's name to its path below ROOT, None to leave it out; None for no archive.
    goes: where a file that is no archive goes, below ROOT.
    """

    url: str
    digest: str = ""
    place: Callable[[str], str | None] | None = None
    goes: str = ""

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Benchmark:
    """A public data set with labels.

    Args:
        name: as it is typed in sets=[...].
        title: as results and reports have it.
        folder: below ROOT, which is the `root` of torchvision's data sets.
        classes: their number; 0 where the user's folders say it.
        counts: images of each split as published, in the order train[, val], test; 0 where the user's folders say it.
        metric: one of METRICS, in which results are published.
        read: (ROOT, split) to its images; raises UserError, or what torchvision raises.
        held_out: share of train on which settings are chosen, where no split for that is published.
        even: whether every class has the same number of images in each split, so that a class without is named.
        files: () to what the publisher offers.
        note: what else is to be known of where it comes from, or of its splits.
        source: who published numbers with these splits and this metric, or NONE.
        also: other folders below ROOT that it may lie in.
    """

    name: str
    title: str
    folder: str
    classes: int
    counts: Mapping[str, int]
    metric: str
    read: Callable[[Path, str], Listing]
    held_out: float = 0.0
    even: bool = False
    files: Callable[[], tuple[Remote, ...]] = field(default=lambda: ())
    note: str = ""
    source: str = "Kornblith et al., CVPR 2019; SimCLR, appendix B.8; BYOL, appendix D"
    also: tuple[str, ...] = ()

    def is_there(self, root: Path) -> bool:
        """Whether a folder of it is below `root`."""
        return any((root / place).exists() for place in (self.folder, *self.also))

    def __post_init__(self) -> None:
        assert self.metric in METRICS, self.metric
        assert list(self.counts) in (["train", "test"], ["train", "val", "test"]), list(self.counts)
        assert ("val" in self.counts) != bool(self.held_out), f"{self.name}: settings are chosen on one split"
