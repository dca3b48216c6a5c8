"""The keys that this project adds to detectron2's configuration, with what each means."""

from __future__ import annotations

from dataclasses import dataclass, field

from pretrain.runtime.options import option
from transfer.detection.data.formats import all_formats
from transfer.detection.evaluation.evaluators import all_evaluators


def format_names() -> tuple[str, ...]:
    """The values of DATASETS.LAYOUT."""
    return tuple(dict.fromkeys(one.name for one in all_formats()))


def evaluator_names() -> tuple[str, ...]:
    """The values of DATASETS.EVALUATOR."""
    return tuple(all_evaluators())


@dataclass
class DataKeys:
    """DATASETS.*, besides detectron2's own TRAIN and TEST."""

    NAME: str = option("", "name of the data set in results and reports; not empty")
    LAYOUT: str = option("coco", "format of the data, one of the formats listed above", choices=format_names)
    ROOT: str = option(
        "", "folder below which the entries of TRAIN and TEST lie; unset takes $DETECTRON2_DATASETS", path=True
    )
    CLASSES: tuple[str, ...] = option((), "names in the order of their indices; a JSON that names them needs none")
    EVALUATOR: str = option("coco", "what judges, one of the evaluators listed above", choices=evaluator_names)


@dataclass
class BackboneKeys:
    """MODEL.BACKBONE.*, besides detectron2's own."""

    ARCH: str = option(
        "", "timm/NAME, a network of timm below an FPN; unset is the ResNet that MODEL.RESNETS describes"
    )


@dataclass
class ModelKeys:
    """MODEL.*, besides detectron2's own."""

    BACKBONE: BackboneKeys = field(default_factory=BackboneKeys)


@dataclass
class SolverKeys:
    """SOLVER.*, besides detectron2's own."""

    TF32: bool = option(
        False, "let a GPU round the factors of fp32's convolutions and products to TF32; off, so that fp32 is fp32"
    )


@dataclass
class DetectionKeys:
    """The keys of a detection configuration that are not detectron2's."""

    PROTOCOL: str = option("", "the recipe's name, which opens the protocol of every result; not empty")
    MODEL: ModelKeys = field(default_factory=ModelKeys)
    DATASETS: DataKeys = field(default_factory=DataKeys)
    SOLVER: SolverKeys = field(default_factory=SolverKeys)


def described_kinds() -> str:
    """The formats and evaluators with a line each, for --help."""
    formats = [f"  {one.name:8} {one.help} ({one.task})" for one in all_formats()]
    evaluators = [f"  {one.name:8} {one.help} ({one.task})" for one in all_evaluators().values()]
    return "\n".join(
        ["DATASETS.LAYOUT, and what an entry of DATASETS.TRAIN and DATASETS.TEST is:", *formats]
        + ["", "DATASETS.EVALUATOR:", *evaluators]
    )
