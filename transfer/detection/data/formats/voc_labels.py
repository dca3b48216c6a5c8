"""Label images in Pascal VOC's folders: ImageSets/Segmentation/SPLIT.txt and SegmentationClassAug."""

from __future__ import annotations

from pretrain.runtime.errors import UserError
from pretrain.runtime.names import path_inside
from transfer.detection.data.formats.base import SEMANTIC, Format, Split
from transfer.detection.data.formats.voc import BENCHMARKS, listed_names
from transfer.detection.data.images import images_by_stem, only_one
from transfer.detection.data.labels import read_label_pairs
from transfer.detection.data.records import Reading

LABEL_FOLDERS = ("SegmentationClassAug", "SegmentationClass")  # with SBD's annotations, and without


def read_voc_labels(split: Split) -> Reading:
    """Read FOLDER/ImageSets/Segmentation/SPLIT.txt, JPEGImages, and SegmentationClassAug or SegmentationClass.

    The former holds the labels of all images of the list `trainaug` (Hariharan et al., 2011) in the layout that the
    field shares. A list whose images all have labels in the latter can do without it.

    Raises:
        UserError: a missing list, folder, image or label image, or labels that do not fit (see `read_label_pairs`).
    """
    folder = split.path().parent
    listing = folder / "ImageSets" / "Segmentation" / f"{split.path().name}.txt"
    images = images_by_stem(folder / "JPEGImages")
    names = listed_names(listing, images)
    for labels in (folder / name for name in LABEL_FOLDERS):
        label_of = {name: path_inside(labels, f"{name}.png", listing, links=True) for name in names}
        if all(path.is_file() for path in label_of.values()):
            pairs = [(only_one(name, images.get(name, []), listing), path) for name, path in label_of.items()]
            return read_label_pairs(pairs, split.classes, split.ignored)
    raise UserError(
        f"the images of {listing} have no complete labels in "
        f"{' or '.join(str(folder / name) for name in LABEL_FOLDERS)}: unpack them there."
    )


FORMAT = Format(
    name="voc",
    help="FOLDER/SPLIT or SPLIT: ImageSets/Segmentation/SPLIT.txt, SegmentationClassAug or SegmentationClass",
    read=read_voc_labels,
    evaluators=("iou",),
    task=SEMANTIC,
    benchmarks=BENCHMARKS,
)
