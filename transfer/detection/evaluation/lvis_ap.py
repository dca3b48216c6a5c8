"""AP of LVIS (Gupta et al., 2019): of each image only the classes that were looked for in it count.

The package `lvis` does not run under numpy 1.24 or newer, so its three rules are put on top of pycocotools here: a
class counts on an image where it is annotated or known to be absent (`neg_category_ids`); where it is not annotated
exhaustively (`not_exhaustive_category_ids`), unmatched detections are ignored; at most 300 detections an image.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.utils import comm
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

MOST = 300
FREQUENCIES = {"r": "APr", "c": "APc", "f": "APf"}  # rare, common, frequent classes


class FederatedEval(COCOeval):  # type: ignore[misc]  # detectron2 and pycocotools have no types
    """pycocotools' evaluation of one kind over all areas, by the rules of LVIS."""

    def __init__(self, truth: COCO, detections: COCO, kind: str) -> None:
        super().__init__(truth, detections, kind)
        self.params.maxDets = [MOST]
        self.params.areaRng, self.params.areaRngLbl = self.params.areaRng[:1], self.params.areaRngLbl[:1]
        self._looked_for = {image["id"]: set(image["neg_category_ids"]) for image in truth.dataset["images"]}
        for annotation in truth.dataset["annotations"]:
            self._looked_for[annotation["image_id"]].add(annotation["category_id"])
        self._partial = {image["id"]: set(image["not_exhaustive_category_ids"]) for image in truth.dataset["images"]}

    def evaluateImg(self, imgId: int, catId: int, aRng: Sequence[float], maxDet: int) -> dict[str, Any] | None:
        """pycocotools' matches of one class on one image, None where nobody looked for the class.

        Args:
            imgId: the image.
            catId: the class.
            aRng: smallest and largest area of the objects that count.
            maxDet: how many detections of the image count.
        """
        if catId not in self._looked_for[imgId]:
            return None
        matches: dict[str, Any] | None = super().evaluateImg(imgId, catId, aRng, maxDet)
        if matches is not None and catId in self._partial[imgId]:
            matches["dtIgnore"] = np.logical_or(matches["dtIgnore"], matches["dtMatches"] == 0)
        return matches


class FederatedEvaluator(DatasetEvaluator):  # type: ignore[misc]  # detectron2 and pycocotools have no types
    """detectron2's interface to it: kind to AP, AP50, AP75, APr, APc, APf and AP-CLASS, in percent."""

    def __init__(self, name: str, kinds: Sequence[str]) -> None:
        self._metadata, self._kinds = MetadataCatalog.get(name), kinds
        self._detections: list[dict[str, Any]] = []

    def reset(self) -> None:
        """Forget all predictions."""
        self._detections = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep the best detections of each image."""
        for sample, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            best = instances[instances.scores.argsort(descending=True)[:MOST]]
            self._detections += instances_to_coco_json(best, sample["image_id"])

    def evaluate(self) -> dict[str, dict[str, float]]:
        """The numbers of all ranks together, {} on ranks other than 0."""
        gathered = comm.gather(self._detections, dst=0)
        if not comm.is_main_process():
            return {}
        detections = [detection for of_rank in gathered for detection in of_rank]
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(self._metadata.json_file)
        for annotation in truth.dataset["annotations"]:
            annotation["iscrowd"] = 0  # LVIS has no crowds, pycocotools asks
        ids = sorted(truth.getCatIds())  # a class's index is the rank of its id
        detections = [{**one, "category_id": ids[one["category_id"]]} for one in detections]
        if not detections:
            return {kind: dict.fromkeys(("AP", "AP50", "AP75"), 0.0) for kind in self._kinds}
        return {kind: self._of_kind(truth, detections, kind) for kind in self._kinds}

    def _of_kind(self, truth: COCO, detections: list[dict[str, Any]], kind: str) -> dict[str, float]:
        # a box's area would be taken for a mask's where both are given
        shapes = [{key: value for key, value in one.items() if kind == "bbox" or key != "bbox"} for one in detections]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = FederatedEval(truth, truth.loadRes(shapes), kind)
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (IoUs, recalls, classes)
        classes = [truth.cats[key] for key in evaluation.params.catIds]
        scores = {"AP": _mean(precision), "AP50": _mean(precision[0]), "AP75": _mean(precision[5])}
        for letter, name in FREQUENCIES.items():
            chosen = [index for index, one in enumerate(classes) if one.get("frequency") == letter]
            scores[name] = _mean(precision[:, :, chosen])
        return scores | {f"AP-{one['name']}": _mean(precision[:, :, index]) for index, one in enumerate(classes)}


def _mean(precision: np.ndarray) -> float:
    """In percent, over the classes that occur (others are -1); NaN where none does."""
    present = precision[precision > -1]
    return float(100 * present.mean()) if present.size else float("nan")
