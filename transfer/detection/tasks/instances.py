"""Boxes of single objects, and where the model has heads for them masks and keypoints."""

from __future__ import annotations

from detectron2.config import CfgNode

from pretrain.runtime.errors import UserError
from transfer.annotations.masks import number
from transfer.detection.data.formats.base import INSTANCES
from transfer.detection.data.records import Reading, Record, Roles, objects_of
from transfer.detection.data.repair import repair_annotations
from transfer.detection.data.shapes import check_shapes
from transfer.detection.tasks.base import Task
from transfer.detection.visualization.instances import draw_detections

TWO_STAGES, ONE_STAGE = "GeneralizedRCNN", "RetinaNet"


def kinds(cfg: CfgNode) -> list[str]:
    """Boxes, and of two-stage detectors what their further heads predict."""
    heads = (("segm", cfg.MODEL.MASK_ON), ("keypoints", cfg.MODEL.KEYPOINT_ON))
    return ["bbox", *(kind for kind, there in heads if there and cfg.MODEL.META_ARCHITECTURE == TWO_STAGES)]


def result_task(cfg: CfgNode) -> str:
    """The report keeps instance segmentation apart from detection."""
    return "segmentation" if cfg.MODEL.MASK_ON else "detection"


def settings(cfg: CfgNode) -> list[str]:
    """The numbers of regions of a two-stage detector."""
    if cfg.MODEL.META_ARCHITECTURE != TWO_STAGES:
        return []
    return [
        f"{cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE} RoIs an image",
        f"{cfg.MODEL.RPN.POST_NMS_TOPK_TEST} proposals at test",
    ]


def settle(cfg: CfgNode, reading: Reading, roles: Roles) -> None:
    """Mend the annotations of a split, and hold that it has the objects, masks and keypoints that the model wants.

    Args:
        cfg: the configuration.
        reading: the split.
        roles: what it is used for.

    Raises:
        UserError: naming what the split lacks.
    """
    wanted = kinds(cfg)
    repair_annotations(reading, wanted, roles.measured)
    check_shapes(cfg, reading, roles)
    objects = [annotation for record in reading.records for annotation in objects_of(record)]
    if not objects:
        raise UserError("it holds no annotated object: there is nothing to learn or to measure.")
    if roles.measured and cfg.DATASETS.EVALUATOR == "voc" and all(one.get("difficult") for one in objects):
        raise UserError(
            "every object is marked difficult, and Pascal VOC's AP counts none of those: set DATASETS.EVALUATOR=coco."
        )
    if "segm" in wanted:
        _check_masks(cfg, reading, objects, roles)
    if "keypoints" in wanted:
        _check_keypoints(cfg, reading, roles)


def _check_masks(cfg: CfgNode, reading: Reading, objects: list[Record], roles: Roles) -> None:
    lacking = sum("segmentation" not in annotation for annotation in objects)
    if lacking:
        raise UserError(f"{lacking} objects have no mask: annotate them, or set MODEL.MASK_ON=False.")
    crowds = sum(len(record["annotations"]) for record in reading.records) - len(objects)
    if roles.measured and crowds:
        bare = [one for record in reading.records for one in record["annotations"] if "segmentation" not in one]
        if bare:
            raise UserError(f"{len(bare)} crowd regions have no mask: annotate them, or set MODEL.MASK_ON=False.")
    run_lengths = any(isinstance(annotation["segmentation"], dict) for annotation in objects)
    if roles.trained and cfg.INPUT.MASK_FORMAT == "polygon" and run_lengths:
        raise UserError("it holds run-length masks: set INPUT.MASK_FORMAT=bitmask.")


def _check_keypoints(cfg: CfgNode, reading: Reading, roles: Roles) -> None:
    head, points = cfg.MODEL.ROI_KEYPOINT_HEAD, reading.metadata.get("keypoint_names", ())
    wanted = head.NUM_KEYPOINTS
    if len(points) != wanted:
        raise UserError(
            f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS={wanted}, but it names {len(points)} keypoints: "
            f"{f'set it to {len(points)}' if points else 'give a JSON with keypoints, or MODEL.KEYPOINT_ON=False'}."
        )
    most = max(sum(labelled_points(one) for one in objects_of(record)) for record in reading.records)
    if not most:
        raise UserError("it holds no visible keypoint: there is nothing to learn or to measure.")
    if roles.trained and most < head.MIN_KEYPOINTS_PER_IMAGE:
        raise UserError(
            f"no image has the {head.MIN_KEYPOINTS_PER_IMAGE} keypoints of "
            "MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE: lower it."
        )
    sigmas = list(cfg.TEST.KEYPOINT_OKS_SIGMAS)
    if len(sigmas) != wanted or not all(number(sigma) is not None and sigma > 0 for sigma in sigmas):
        raise UserError(
            f"TEST.KEYPOINT_OKS_SIGMAS lists {len(sigmas)} numbers ({sigmas}), one above 0 for each of the {wanted} "
            "keypoints is needed: pycocotools would measure with COCO's persons' 17."
        )


def labelled_points(annotation: Record) -> int:
    """How many keypoints of an object are labelled."""
    return sum(visibility > 0 for visibility in annotation.get("keypoints", [])[2::3])


TASK = Task(
    name=INSTANCES,
    class_keys={TWO_STAGES: "MODEL.ROI_HEADS.NUM_CLASSES", ONE_STAGE: "MODEL.RETINANET.NUM_CLASSES"},
    class_metadata="thing_classes",
    kinds=kinds,
    result_task=result_task,
    settings=settings,
    mapper=lambda cfg, training: None,
    settle=settle,
    draw=draw_detections,
)
