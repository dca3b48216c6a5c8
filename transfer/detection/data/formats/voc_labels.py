"""Label images in Pascal VOC's folders: ImageSets/Segmentation/SPLIT.txt and SegmentationClassAug."""

from __future__ import annotations

from transfer.annotations.labels import voc_pairs
from transfer.detection.data.formats.base import SEMANTIC, Format, Split
from transfer.detection.data.formats.voc import BENCHMARKS
from transfer.detection.data.labels import read_label_pairs
from transfer.detection.data.records import Reading


def read_voc_labels(split: Split) -> Reading:
    """Read FOLDER/ImageSets/Segmentation/SPLIT.txt, JPEGImages, and SegmentationClassAug or SegmentationClass.

    The former holds the labels of all images of the list `trainaug` (Hariharan et al., 2011) in the layout that the
    field shares. A list whose images all have labels in the latter can do without it.

    Raises:
        UserError: a missing list, folder, image or label image, or labels that do not fit (see `read_label_pairs`).
    """
    pairs = voc_pairs(split.path().parent, split.path().name)
    return read_label_pairs(pairs, split.classes, split.ignored)


FORMAT = Format(
    name="voc",
    help="FOLDER/SPLIT or SPLIT: ImageSets/Segmentation/SPLIT.txt, SegmentationClassAug or SegmentationClass",
    read=read_voc_labels,
    evaluators=("iou",),
    task=SEMANTIC,
    benchmarks=BENCHMARKS,
)
