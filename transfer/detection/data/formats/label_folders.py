"""A folder of images and a folder of label images of the same names, as semantic segmentation reads them."""

from __future__ import annotations

from transfer.annotations.labels import folder_pairs
from transfer.detection.data.formats.base import SEMANTIC, Format, Split
from transfer.detection.data.labels import read_label_pairs
from transfer.detection.data.records import Reading

ADE20K = "ADEChallengeData2016"


def read_label_folders(split: Split) -> Reading:
    """Read every label image LABELS/**/STEM.png with its image IMAGES/**/STEM.*, at any depth, by name.

    Raises:
        UserError: a missing or empty folder, an image without labels or the reverse, or labels that do not fit.
    """
    return read_label_pairs(folder_pairs(*split.pair()), split.classes, split.ignored)


FORMAT = Format(
    name="folders",
    help="IMAGES:LABELS, two folders that hold the same names; labels are class indices in 8-bit PNG",
    read=read_label_folders,
    evaluators=("iou",),
    task=SEMANTIC,
    benchmarks={
        r"cityscapes_semantic_(train|val)": r"cityscapes/leftImg8bit/\1:cityscapes/semantic/\1",
        r"ade20k_sem_seg_train": f"{ADE20K}/images/training:{ADE20K}/annotations_detectron2/training",
        r"ade20k_sem_seg_val": f"{ADE20K}/images/validation:{ADE20K}/annotations_detectron2/validation",
    },
)
