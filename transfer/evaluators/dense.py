"""A frozen dense probe: a 1x1 convolution on the map of a stage, on images with a class at each pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.datasets.splits import LabelSplits
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import STAGES, Common

if TYPE_CHECKING:
    import numpy as np

    from transfer.datasets.labelled import Labelled
    from transfer.features.rows import Features


@dataclass
class Options:
    """Which map, which images, and on what the weight decay is chosen."""

    map_of: str = option("res5", "stage of the network whose map is looked at", choices=STAGES)
    held_out: float = option(0.2, "share of train on which settings are chosen", above=0, below=1)
    labels: LabelSplits = field(default_factory=LabelSplits)


def open_data(root: Path, options: Options, _: Common) -> Labelled:
    """A folder of images with label images."""
    from transfer.datasets.semantic import open_semantic

    return open_semantic(root, options.labels)


def measure(subject: Subject, options: Options) -> Outcome:
    """Mean intersection over union on the test crop, with mean and pixel accuracy; and of each class."""
    from transfer.classifiers.linear import dense_probe, frozen_map
    from transfer.features.rows import counts_of
    from transfer.per_image import of_pixels

    common, classes = subject.common, subject.classes
    network = subject.arch, common.image_size, options.map_of
    frozen = frozen_map.frozen_maps(subject.other_rows, *network, "a dense probe")
    train, test = frozen.train, frozen.val
    maps, queries = frozen.on(subject.device)
    labels = [_labels(subject, train, 0, at) for at in range(len(maps))]
    fitted, details = dense_probe.choose_and_fit(maps, labels, classes, options.held_out, common.seed)
    found = dense_probe.tallies(fitted, queries, lambda at: _labels(subject, test, 1, at), classes)
    if not found.any():
        raise UserError(
            f"no pixel of the test images of {subject.data.name} has a class where they are cut: mend them."
        )
    metrics, each = dense_probe.metrics_of(found)
    details |= {"IoU": {subject.data.train.classes[one]: value for one, value in each.items()}}
    kept = of_pixels(test.names, found)
    return Outcome(metrics, f"{dense_probe.PROTOCOL}: {frozen}", counts_of(train, test), details, per_image=kept)


def _labels(subject: Subject, rows: Features, part: int, at: int) -> np.ndarray:
    """The label image of an image, cut as the image was."""
    import numpy as np
    from PIL import Image

    from transfer.datasets.semantic import shifted
    from transfer.features.pictures import evaluation_transform, resize_for

    data, common = subject.data, subject.common
    assert data.label_images is not None
    cut = evaluation_transform(common.image_size, resize_for(common.image_size, common.resize), "nearest")
    return np.asarray(cut(Image.fromarray(shifted(data.label_images[part][rows.names[at]], data.first_label))))


EVALUATOR = Evaluator(
    Task("dense", "Frozen dense probe", headline="mIoU", order=60),
    "1x1 convolution on the frozen map of a stage, on images with label images: mean IoU",
    measure,
    needs=lambda _: Needs.OTHER_ROWS,
    options=Options,
    several_processes=True,
    open_data=open_data,
)
