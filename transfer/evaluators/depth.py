"""Depth from a frozen map: a 1x1 convolution, and the errors of NYUv2's protocol (Eigen et al., 2014)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.datasets.splits import DepthSplits
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, Task
from transfer.options import STAGES, Common

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from transfer.datasets.labelled import Labelled
    from transfer.features.rows import Features


@dataclass
class Options:
    """Which map, which images, and on what the weight decay is chosen."""

    map_of: str = option("res5", "stage of the network whose map is looked at", choices=STAGES)
    held_out: float = option(0.2, "share of train on which settings are chosen", above=0, below=1)
    depths: DepthSplits = field(default_factory=DepthSplits)


def open_data(root: Path, options: Options, _: Common) -> Labelled:
    """A folder of images with depth images."""
    from transfer.datasets.depth import open_depth

    return open_depth(root, options.depths)


def measure(subject: Subject, options: Options) -> Outcome:
    """Means over the images of val of each image's share of near pixels, RMSE, relative and logarithmic error."""
    import numpy as np

    from transfer.classifiers.linear import depth_probe, frozen_map
    from transfer.features.rows import counts_of
    from transfer.per_image import of_means

    common, data = subject.common, subject.data
    network = subject.arch, common.image_size, options.map_of
    frozen = frozen_map.frozen_maps(subject.other_rows, *network, "a depth probe", squashed=True)
    train, test = frozen.train, frozen.val
    maps, queries = frozen.on(subject.device)
    known, asked = _depths(subject, train, 0, options), _depths(subject, test, 1, options)
    fitted, details = depth_probe.choose_and_fit(maps, known, options.held_out, common.seed)
    each = depth_probe.errors_of(fitted, queries, asked)
    if not any(np.isfinite(values).any() for values in each.values()):
        raise UserError(f"no pixel of the test images of {data.name} has a depth that is judged: see depths.per_metre.")
    split = "NYUv2's 795 + 654 images" if data.published else "own images"
    protocol = f"{depth_probe.PROTOCOL}: {frozen}; {split}, Eigen's crop, up to 10 m, means over images"
    metrics = {name: float(np.nanmean(values)) for name, values in each.items()}
    seen = f"whole images squashed to {common.image_size}x{common.image_size}, {common.interpolation}"
    kept = of_means(test.names, each)
    return Outcome(metrics, protocol, counts_of(train, test), details, per_image=kept, seen=seen)


def _depths(subject: Subject, rows: Features, part: int, options: Options) -> Callable[[int], np.ndarray]:
    """Reads the depth image of a place in the rows."""
    from transfer.datasets.depth import depth_image

    assert subject.data.label_images is not None
    files = subject.data.label_images[part]
    return lambda at: depth_image(files[rows.names[at]], options.depths.per_metre)


EVALUATOR = Evaluator(
    Task(
        "depth",
        "Frozen depth probe",
        headline="delta1",
        headline_alone=False,
        units={"RMSE": "m", "AbsRel": "", "log10": ""},
        less=("RMSE", "AbsRel", "log10"),
        order=62,
    ),
    "1x1 convolution from the frozen map of a stage to depth, on NYUv2 or own images with depth images",
    measure,
    needs=lambda _: Needs.OTHER_ROWS,
    options=Options,
    several_processes=True,
    open_data=open_data,
)
