"""A semantic record to what a model takes: image and labels under the same crops, scales and flips."""

from __future__ import annotations

import copy

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T

from transfer.annotations.labels import label_image
from transfer.detection.data.records import Record

GREY = 128  # of the margin around an image smaller than its crop


class SemanticMapper:
    """A record to {"image" (3, H, W) uint8, "sem_seg" (H, W) int64 in training, ...}; crops smaller images padded."""

    def __init__(self, cfg: CfgNode, is_train: bool) -> None:
        augmentations = detection_utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            size, ignored = tuple(cfg.INPUT.CROP.SIZE), cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
            augmentations.insert(1, T.FixedSizeCrop(size, pad=True, pad_value=GREY, seg_pad_value=ignored))
        self._augmentations = T.AugmentationList(augmentations)
        self._format, self._is_train = cfg.INPUT.FORMAT, is_train

    def __call__(self, record: Record) -> Record:
        record = copy.deepcopy(record)
        labels = label_image(record["sem_seg_file_name"]) if self._is_train else None
        augmented = T.AugInput(detection_utils.read_image(record["file_name"], self._format), sem_seg=labels)
        self._augmentations(augmented)
        record["image"] = torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        if labels is not None:
            record["sem_seg"] = torch.from_numpy(augmented.sem_seg.astype(np.int64))
        return record
