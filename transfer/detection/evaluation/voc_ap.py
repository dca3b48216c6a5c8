"""AP as Pascal VOC defines it (Everingham et al., 2010), of the checked records.

detectron2's evaluator parses the folder's XML once more and more strictly, without what was mended or left out, and
caches it by file name. Here its rules are put on the records: coordinates counted from 1 with one digit behind the
point, scores with three, and an IoU above the threshold with the object that overlaps most. On a folder that needs no
mending the numbers are the same. A class without an object in the split does not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.pascal_voc_evaluation import voc_ap
from detectron2.structures import BoxMode
from detectron2.utils import comm

from transfer.detection.data.records import Record, objects_of

THRESHOLDS = range(50, 100, 5)  # of IoU, in percent
OLDER = 2007  # whose AP has 11 points of recall

Answer = tuple[Any, float, list[float]]  # image, score, box as the layout counts


class CheckedVOCEvaluator(DatasetEvaluator):  # type: ignore[misc]  # detectron2 and pycocotools have no types
    """detectron2's interface to it: {"bbox": {"AP", "AP50", "AP75"}} in percent."""

    def __init__(self, name: str) -> None:
        metadata = MetadataCatalog.get(name)
        self._records: Sequence[Record] = DatasetCatalog.get(name)
        self._classes, self._older = len(metadata.thing_classes), metadata.year == OLDER
        self._answers: dict[int, list[Answer]] = defaultdict(list)

    def reset(self) -> None:
        """Forget all predictions."""
        self._answers = defaultdict(list)

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep the predictions of each image."""
        for sample, output in zip(inputs, outputs, strict=True):
            found = output["instances"].to("cpu")
            boxes = counted_from_1(found.pred_boxes.tensor.numpy()).tolist()
            scores, kinds = found.scores.tolist(), found.pred_classes.tolist()
            for box, score, kind in zip(boxes, scores, kinds, strict=True):
                self._answers[kind].append((sample["image_id"], float(f"{score:.3f}"), box))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """The numbers of all ranks together, {} on ranks other than 0."""
        gathered = comm.gather(dict(self._answers), dst=0)
        if not comm.is_main_process():
            return {}
        precisions: dict[int, list[float]] = defaultdict(list)
        for kind in range(self._classes):
            answers = [answer for of_rank in gathered for answer in of_rank.get(kind, [])]
            for threshold, value in self._of_class(kind, answers).items():
                precisions[threshold].append(100 * value)
        means = {threshold: float(np.mean(values)) for threshold, values in precisions.items()}
        return {"bbox": {"AP": float(np.mean(list(means.values()))), "AP50": means[50], "AP75": means[75]}}

    def _of_class(self, kind: int, answers: list[Answer]) -> dict[int, float]:
        """AP by threshold, {} where nothing of the class is to be found."""
        truths = {record["image_id"]: _truth(record, kind) for record in self._records}
        wanted = sum(int((~difficult).sum()) for _, difficult in truths.values())
        if not wanted:
            return {}
        order = [int(at) for at in np.argsort(-np.array([score for _, score, _ in answers]))]
        best = [_best(answers[at][2], truths[answers[at][0]][0]) for at in order]
        values = {}
        for threshold in THRESHOLDS:
            taken: set[tuple[Any, int]] = set()
            hits, misses = np.zeros(len(best)), np.zeros(len(best))
            for place, (at, (overlap, index)) in enumerate(zip(order, best, strict=True)):
                image = answers[at][0]
                if overlap <= threshold / 100:
                    misses[place] = 1
                elif truths[image][1][index]:  # a difficult object counts neither as found nor as missed
                    continue
                elif (image, index) in taken:
                    misses[place] = 1
                else:
                    taken.add((image, index))
                    hits[place] = 1
            found, wrong = np.cumsum(hits), np.cumsum(misses)
            precision = found / np.maximum(found + wrong, np.finfo(np.float64).eps)
            values[threshold] = float(voc_ap(found / wanted, precision, self._older))
        return values


def counted_from_1(edges: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) in 0-based edges as the layout counts: pixels from 1, the last one included, one digit."""
    boxes = np.array(edges, dtype=np.float32).reshape(-1, 4)
    boxes[:, :2] += 1
    return np.array([[float(f"{side:.1f}") for side in box] for box in boxes], dtype=np.float64).reshape(-1, 4)


def _truth(record: Record, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) as the layout counts, and whether each is difficult, of one class."""
    found = [one for one in objects_of(record) if one["category_id"] == kind]
    edges = [BoxMode.convert(list(map(float, one["bbox"])), one["bbox_mode"], BoxMode.XYXY_ABS) for one in found]
    return counted_from_1(np.array(edges)), np.array([bool(one.get("difficult", 0)) for one in found], dtype=bool)


def _best(box: list[float], truths: np.ndarray) -> tuple[float, int]:
    """The highest IoU of a box with the objects of its image, and which it is; -inf without objects."""
    if not len(truths):
        return -np.inf, -1
    answer = np.array(box)
    low, high = np.maximum(truths[:, :2], answer[:2]), np.minimum(truths[:, 2:], answer[2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=1)
    areas = (truths[:, 2:] - truths[:, :2] + 1).prod(axis=1)
    union = (answer[2:] - answer[:2] + 1).prod() + areas - shared
    same = (truths == answer).all(axis=1)  # a box that one digit leaves no area has no IoU, and is still itself
    overlaps = np.where(same, 1.0, shared / np.where(union > 0, union, 1.0))
    index = int(np.argmax(overlaps))
    return float(overlaps[index]), index
