"""The YAML at the top of a card, by which a hub lists a model: licence, data sets, and metrics as model-index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.weights.hub.client import library
from pretrain.weights.hub.names import is_hub, parse
from pretrain.weights.trunk import TrunkFile
from transfer.results import Result
from transfer.tasks import display_name, unit

UNKNOWN = "unknown"  # the hub's word for a licence that nobody has said
SPLITS = ("train", "val", "test", "images")  # folders of a data set that are not its name
IDENTIFIER = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
# what hubs call the tasks and metrics of our evaluations; all that is not here classifies images
KINDS = {
    "detection": ("object-detection", "mean_average_precision"),
    "segmentation": ("image-segmentation", "mean_average_precision"),
    "semantic": ("image-segmentation", "mean_iou"),
    "dense": ("image-segmentation", "mean_iou"),
}
CLASSIFIES = ("image-classification", "accuracy")


@dataclass(frozen=True)
class Said:
    """What only the user can say: licence of the weights, and the data sets by their names on the hub."""

    licence: str = UNKNOWN
    datasets: Sequence[str] = field(default_factory=tuple)

    def check(self) -> None:
        """Refuse what no hub could take.

        Raises:
            UserError: naming it.
        """
        for option, value in [("--licence", self.licence), *(("--dataset", one) for one in self.datasets)]:
            if not IDENTIFIER.fullmatch(value):
                raise UserError(f"{option} {value!r} is no name on a hub: write one such as apache-2.0, or USER/NAME.")


def header(name: str, trunk: TrunkFile, said: Said, root: str, results: Sequence[Result]) -> str:
    """The YAML, without its lines of dashes.

    Args:
        name: of the model.
        trunk: what is published.
        said: by the user.
        root: of the images of pretraining, "" where unknown.
        results: of this very trunk.

    Raises:
        UserError: huggingface_hub, which writes it, is not installed.
    """
    hub = library("the header of a card")
    start = str(trunk.meta.get("init_file") or "")
    datasets = list(said.datasets) or [one for one in [_slug(root)] if one]
    data = hub.ModelCardData(
        license=said.licence,
        library_name="timm",
        pipeline_tag="image-feature-extraction",
        tags=["timm", "self-supervised-learning", "image-feature-extraction"],
        datasets=datasets or None,
        base_model=parse(start).repo if is_hub(start) else None,
        model_name=name,
        eval_results=_measured(hub, results) or None,
    )
    return str(data.to_yaml())


def _measured(hub: Any, results: Sequence[Result]) -> list[Any]:
    """An entry for each metric, the mean where it was measured with several seeds."""
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for one in results:
        for metric, value in one.metrics.items():
            values.setdefault((one.task, one.dataset, one.protocol, metric), []).append(value)
    found = []
    for (task, dataset, protocol, metric), of_seeds in values.items():
        kind, measure = KINDS.get(task, CLASSIFIES)
        mean = f", mean of {len(of_seeds)} seeds" if len(of_seeds) > 1 else ""
        found.append(
            hub.EvalResult(
                task_type=kind,
                dataset_type=_slug(dataset) or UNKNOWN,
                dataset_name=dataset,
                metric_type=measure,
                metric_value=round(fmean(of_seeds), 4),
                metric_name=f"{display_name(task)}: {metric}, {unit(task, metric)}{mean}",
                metric_args={"protocol": protocol},
            )
        )
    return found


def _slug(root: str) -> str:
    """The name of a data set from a folder's: imagenette of data/imagenette/train; "" where there is none."""
    names = [one for one in Path(root).parts if one.lower() not in SPLITS and IDENTIFIER.fullmatch(one)]
    return names[-1].lower() if names else ""
