"""Depth from a frozen map: a 1x1 convolution, and the errors of NYUv2's protocol (Eigen et al., 2014)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import option
from transfer.datasets.splits import DepthSplits
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
    depths: DepthSplits = field(default_factory=DepthSplits)


def open_data(root: Path, options: Options, _: Common) -> Labelled:
    """A folder of images with depth images."""
    from transfer.datasets.depth import open_depth

    return open_depth(root, options.depths)


def measure(subject: Subject, options: Options) -> Outcome:
    """Means over the images of val of each image's share of near pixels, RMSE, relative and logarithmic error."""
    import numpy as np

    from transfer.classifiers.linear import depth_probe
    from transfer.features.on_device import chosen_precision
    from transfer.features.squashed import extract_squashed
    from transfer.features.stages import StageMap, stage_shapes
    from transfer.per_image import of_means

    common, data, device = subject.common, subject.data, subject.device
    modules, shapes = stage_shapes(subject.arch, common.image_size, "a depth probe")
    shape = shapes[options.map_of][1:]
    network = StageMap(subject.trunk(), modules, options.map_of)
    train, test = (extract_squashed(common, network, source, device) for source in (data.train, data.val))
    maps, queries = (part.rows[:].view(-1, *shape).to(device) for part in (train, test))
    fitted, details = depth_probe.choose_and_fit(
        maps, _depths(subject, train, 0, options), options.held_out, common.seed
    )
    each = depth_probe.errors_of(fitted, queries, _depths(subject, test, 1, options))
    if not any(np.isfinite(values).any() for values in each.values()):
        raise UserError(f"no pixel of the test images of {data.name} has a depth that is judged: see depths.per_metre.")
    counts = {"train": len(maps), "val": len(queries), "skipped": len(train.skipped) + len(test.skipped)}
    details |= {"frozen_precision_used": chosen_precision(common.frozen_precision, device)}
    split = "NYUv2's 795 + 654 images" if data.published else "own images"
    where = f"{options.map_of} ({shape[0]} channels, {shape[1]}x{shape[2]})"
    protocol = f"{depth_probe.PROTOCOL}: {where}; {split}, Eigen's crop, up to 10 m, means over images"
    metrics = {name: float(np.nanmean(values)) for name, values in each.items()}
    seen = f"whole images squashed to {common.image_size}x{common.image_size}, {common.interpolation}"
    kept = of_means(test.names, each)
    return Outcome(metrics, protocol, counts, details, per_image=kept, seen=seen)


def _depths(subject: Subject, rows: Features, part: int, options: Options) -> partial[np.ndarray]:
    """Reads the depth image of a place in the rows."""
    from transfer.datasets.depth import depth_image

    assert subject.data.label_images is not None
    files = [subject.data.label_images[part][name] for name in rows.names]

    def of(at: int, per_metre: float) -> np.ndarray:
        return depth_image(files[at], per_metre)

    return partial(of, per_metre=options.depths.per_metre)


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
    needs=lambda _: Needs.TRUNK,
    options=Options,
    open_data=open_data,
)
