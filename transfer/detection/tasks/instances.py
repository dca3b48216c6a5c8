"""Boxes of single objects, and where the model has heads for them masks and keypoints."""

from __future__ import annotations

from detectron2.config import CfgNode

from pretrain.runtime.errors import UserError
from transfer.detection.data.formats.base import INSTANCES
from transfer.detection.data.records import Reading, Record, objects_of
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


def check_objects(cfg: CfgNode, name: str, reading: Reading, training: bool) -> None:
    """Hold that a split has objects and, for training, the masks and keypoints that the model wants.

    Args:
        cfg: the configuration.
        name: of the split, for the message.
        reading: the split.
        training: whether it is trained on.

    Raises:
        UserError: naming what the split lacks.
    """
    objects = [annotation for record in reading.records for annotation in objects_of(record)]
    if not objects:
        raise UserError(f"split '{name}' holds no annotated object: there is nothing to learn or to measure.")
    if training and cfg.MODEL.MASK_ON:
        _check_masks(cfg, name, objects)
    if training and cfg.MODEL.KEYPOINT_ON:
        _check_keypoints(cfg, name, reading.metadata.get("keypoint_names", ()), objects)


def _check_masks(cfg: CfgNode, name: str, objects: list[Record]) -> None:
    lacking = sum(not annotation.get("segmentation") for annotation in objects)
    if lacking:
        raise UserError(f"{lacking} objects of split '{name}' have no mask: set MODEL.MASK_ON=False.")
    if cfg.INPUT.MASK_FORMAT == "polygon" and any(isinstance(one["segmentation"], dict) for one in objects):
        raise UserError(f"split '{name}' holds run-length masks: set INPUT.MASK_FORMAT=bitmask.")


def _check_keypoints(cfg: CfgNode, name: str, points: tuple[str, ...], objects: list[Record]) -> None:
    wanted = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
    if len(points) != wanted:
        raise UserError(
            f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS={wanted}, but split '{name}' names {len(points)} keypoints: "
            f"{f'set it to {len(points)}' if points else 'give a JSON with keypoints, or MODEL.KEYPOINT_ON=False'}."
        )
    if not any(sum(annotation.get("keypoints", [])[2::3]) for annotation in objects):
        raise UserError(f"split '{name}' holds no visible keypoint: there is nothing to learn.")
    if len(cfg.TEST.KEYPOINT_OKS_SIGMAS) != wanted:
        raise UserError(
            f"TEST.KEYPOINT_OKS_SIGMAS lists {len(cfg.TEST.KEYPOINT_OKS_SIGMAS)} numbers, one for each of the "
            f"{wanted} keypoints is needed: pycocotools would measure with COCO's persons' 17."
        )


TASK = Task(
    name=INSTANCES,
    class_keys={TWO_STAGES: "MODEL.ROI_HEADS.NUM_CLASSES", ONE_STAGE: "MODEL.RETINANET.NUM_CLASSES"},
    class_metadata="thing_classes",
    kinds=kinds,
    result_task=result_task,
    settings=settings,
    mapper=lambda cfg, training: None,
    check=check_objects,
    draw=draw_detections,
)
