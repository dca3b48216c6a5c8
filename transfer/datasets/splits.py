"""Options of folders whose images have several classes, label images or depth images. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from pretrain.runtime.options import option

LAYOUTS = ("auto", "voc", "coco")


@dataclass
class Splits:
    """Which layout a folder has, and which of its splits are trained on and tested on."""

    layout: str = option(
        "auto",
        "voc: ImageSets/Main/, Annotations/, JPEGImages/; coco: annotations/instances_SPLIT.json, SPLIT/",
        choices=LAYOUTS,
    )
    train: str = option("", "split that is trained on; unset is trainval or train, or COCO's only train split")
    test: str = option("", "split that is tested on; unset is test or val, or COCO's only val split")
    least: int = option(
        3, "images of train that a class must be in, and be absent from; other classes are left out", at_least=1
    )


@dataclass
class LabelSplits:
    """Which layout a folder of images with label images has, and which splits are trained on and tested on."""

    layout: str = option(
        "auto",
        "ade20k: images/, annotations/; cityscapes: leftImg8bit/, semantic/; voc: ImageSets/Segmentation/; "
        "folders: two of any name",
        choices=("auto", "ade20k", "cityscapes", "voc", "folders"),
    )
    train: str = option("", "split that is trained on, IMAGES:LABELS of folders; unset is the layout's own")
    test: str = option("", "split that is tested on, likewise")
    classes: int = option(
        0, "number of classes; 0 is the published one, or of folders what train holds", at_least=0, at_most=255
    )


@dataclass
class DepthSplits:
    """Which splits of a folder of images with depth images are trained on and tested on."""

    train: str = option("", "split that is trained on, train if unset, or IMAGES:DEPTHS, two folders of any name")
    test: str = option("", "split that is tested on, test if unset, or likewise")
    per_metre: float = option(1000.0, "what a depth image has for a metre: 1000 where it has millimetres", above=0)
