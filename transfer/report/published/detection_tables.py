"""Published numbers of detection that ours may stand beside, each with the one protocol that it was measured under."""

from __future__ import annotations

from dataclasses import dataclass

BOX = ("bbox_AP", "bbox_AP50", "bbox_AP75")
MASK = ("segm_AP", "segm_AP50", "segm_AP75")
UNIGRAD = "Tao et al., CVPR 2022, Table 8; that its protocol is TWIST's is inferred: its TWIST row is TWIST's README's"
MOCO = "facebookresearch/moco, detection/README.md, means of 5 trials"
VOC = "short side 480-800 (test 800), 512 RoIs an image, 1000 proposals at test, VOC07 AP"
COCO = "short side 640-800 (test 800), 512 RoIs an image, 1000 proposals at test, COCO AP"


@dataclass(frozen=True)
class Published:
    """One table. protocol: PROTOCOL of the configuration. images: iterations times batch of its schedule. sizes: images
    in its training and its test splits. settings: the end of the name that a result of this protocol has, after its
    schedule (transfer/detection/config/load.py). lr: of 16 images.

    rows: method to its values in the order of `metrics`, in percent.
    """

    title: str
    protocol: str
    dataset: str
    arch: str
    images: int
    sizes: tuple[int, int]
    metrics: tuple[str, ...]
    rows: dict[str, tuple[float, ...]]
    source: str
    settings: str
    lr: float = 0.02


TABLES = (
    Published(
        "Table 8, Pascal VOC 07+12: Faster R-CNN R50-FPN, 24k iterations",
        "Faster R-CNN FPN, 4conv1fc, SyncBN everywhere (TWIST)",
        "VOC 07+12",
        "resnet50",
        24_000 * 16,
        (16_551, 4_952),
        BOX,
        {
            "Supervised": (54.7, 84.5, 60.8),
            "MoCo v2": (56.4, 81.6, 62.4),
            "SimCLR": (58.2, 83.8, 65.1),
            "DINO": (57.2, 83.5, 63.7),
            "TWIST": (58.1, 84.2, 65.4),
            "UniGrad": (57.8, 84.0, 64.9),
        },
        UNIGRAD,
        VOC,
    ),
    Published(
        "Table 8, COCO 2017: Mask R-CNN R50-FPN, 90k iterations (1x)",
        "Mask R-CNN FPN, 4conv1fc, SyncBN everywhere (TWIST)",
        "COCO 2017",
        "resnet50",
        90_000 * 16,
        (118_287, 5_000),
        BOX + MASK,
        {
            "Supervised": (38.9, 59.6, 42.7, 35.4, 56.5, 38.1),
            "MoCo v2": (39.8, 59.8, 43.6, 36.1, 56.9, 38.7),
            "SimCLR": (41.6, 61.8, 45.6, 37.6, 59.0, 40.5),
            "DINO": (41.4, 62.2, 45.3, 37.5, 58.8, 40.2),
            "TWIST": (41.9, 62.6, 45.7, 37.9, 59.7, 40.6),
            "UniGrad": (42.0, 62.6, 45.7, 37.9, 59.7, 40.7),
        },
        UNIGRAD,
        COCO,
    ),
    Published(
        "MoCo's table, Pascal VOC 07+12: Faster R-CNN R50-C4, 24k iterations",
        "Faster R-CNN C4 with an extra norm after res5 (MoCo)",
        "VOC 07+12",
        "resnet50",
        24_000 * 16,
        (16_551, 4_952),
        BOX,
        {
            "Supervised": (53.5, 81.3, 58.8),
            "MoCo v1, 200 epochs": (55.9, 81.5, 62.6),
            "MoCo v2, 200 epochs": (57.0, 82.4, 63.6),
            "MoCo v2, 800 epochs": (57.4, 82.5, 64.0),
        },
        MOCO,
        VOC,
    ),
)
