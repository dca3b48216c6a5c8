"""LVIS' three rules on three images whose AP is known by hand, and its JSON read as detectron2 reads it."""

import json

import pytest

pytest.importorskip("detectron2")

from pycocotools.coco import COCO

from transfer.detection.evaluation.lvis_ap import FederatedEval

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
CUP, FORK, LAMP = 1, 2, 3


def truth(tmp_path):
    """Image 1 has a cup, and forks are known to be absent; image 2 has a cup, others may be there unannotated."""
    images = [
        {"id": 1, "neg_category_ids": [FORK], "not_exhaustive_category_ids": [], "width": 99, "height": 99},
        {"id": 2, "neg_category_ids": [], "not_exhaustive_category_ids": [CUP], "width": 99, "height": 99},
        {"id": 3, "neg_category_ids": [], "not_exhaustive_category_ids": [], "width": 99, "height": 99},
    ]
    boxes = [(1, CUP, [10, 10, 20, 20]), (2, CUP, [40, 40, 20, 20]), (3, FORK, [5, 5, 30, 30])]
    annotations = [
        {"id": number, "image_id": image, "category_id": kind, "bbox": box, "area": 400, "iscrowd": 0}
        for number, (image, kind, box) in enumerate(boxes, 1)
    ]
    names = ((CUP, "cup", "f"), (FORK, "fork", "r"), (LAMP, "lamp", "c"))
    categories = [{"id": key, "name": name, "frequency": frequency} for key, name, frequency in names]
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return COCO(str(path))


def ap(known, found):
    shapes = [
        {"image_id": image, "category_id": kind, "bbox": box, "score": score} for image, kind, box, score in found
    ]
    evaluation = FederatedEval(known, known.loadRes(shapes), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 0]
    return {key: float(precision[:, index].mean()) for index, key in enumerate(evaluation.params.catIds)}


RIGHT = [(1, CUP, [10, 10, 20, 20], 0.9), (2, CUP, [40, 40, 20, 20], 0.8), (3, FORK, [5, 5, 30, 30], 0.7)]


@pytest.mark.parametrize(
    ("wrong", "cup", "fork"),
    [
        (None, 1.0, 1.0),
        ((3, CUP, [60, 60, 9, 9], 0.99), 1.0, 1.0),  # nobody looked for cups in image 3
        ((2, CUP, [70, 1, 9, 9], 0.99), 1.0, 1.0),  # not all cups of image 2 are annotated
        ((1, FORK, [60, 60, 9, 9], 0.99), 1.0, 0.5),  # image 1 is known to have no fork
        ((1, CUP, [60, 60, 9, 9], 0.99), 2 / 3, 1.0),  # all cups of image 1 are annotated: precision 0, 1/2, 2/3
    ],
    ids=["right", "not looked for", "not exhaustive", "known to be absent", "false"],
)
def test_a_detection_counts_where_its_class_was_looked_for(tmp_path, wrong, cup, fork):
    found = ap(truth(tmp_path), [*RIGHT, wrong] if wrong else RIGHT)
    assert found[CUP] == pytest.approx(cup) and found[FORK] == pytest.approx(fork)
    assert found[LAMP] == -1  # occurs nowhere: enters no mean


def test_lvis_is_read_by_the_addresses_of_cocos_images(tmp_path):
    """A set of two classes in the layout, through the shipped configuration."""
    from PIL import Image

    from helpers.detection_oracle import Oracle
    from helpers.detection_samples import CONFIGS
    from transfer.detection import catalog
    from transfer.detection.config import load
    from transfer.detection.evaluation import measure

    (tmp_path / "coco" / "train2017").mkdir(parents=True)
    (tmp_path / "lvis").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "coco" / "train2017" / "000000000009.jpg")
    image = {"id": 9, "width": 40, "height": 30, "neg_category_ids": [], "not_exhaustive_category_ids": []}
    image["coco_url"] = "http://images.cocodataset.org/train2017/000000000009.jpg"
    one = {"id": 1, "image_id": 9, "category_id": 7, "bbox": [1, 1, 9, 9], "area": 81}
    one["segmentation"] = [[1, 1, 10, 1, 10, 10, 1, 10]]
    classes = [{"id": 7, "name": "cup", "frequency": "f"}, {"id": 2, "name": "fork", "frequency": "r"}]
    content = {"images": [image], "categories": classes, "annotations": [one]}
    for split in ("train", "val"):
        (tmp_path / "lvis" / f"lvis_v1_{split}.json").write_text(json.dumps(content))
    config = CONFIGS / "fpn" / "lvis_v1_mask_rcnn_r50_fpn_180k.yaml"
    own = ["MODEL.WEIGHTS=random", f"DATASETS.ROOT={tmp_path}", "MODEL.ROI_HEADS.NUM_CLASSES=2", "MODEL.DEVICE=cpu"]
    cfg = load.load_config(config, [*own, "DATALOADER.NUM_WORKERS=0"])
    data = catalog.open_datasets(cfg, tmp_path / "scratch")
    (record,) = data.readings[data.test].records
    assert record["annotations"][0]["category_id"] == 1 and data.classes == ("fork", "cup")
    measured = measure.measure_split(cfg, Oracle([record], data.classes), data.test, tmp_path)
    for metric in ("bbox_AP", "segm_AP", "bbox_APf"):
        assert measured.metrics[metric] == pytest.approx(100)
    assert measured.by_class["bbox"] == {"cup": pytest.approx(100)}
