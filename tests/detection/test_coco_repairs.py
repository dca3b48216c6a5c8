"""What is mended in COCO data is counted, and what training sees is what every evaluator measures against."""

import itertools
import json
import uuid
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

import numpy as np
from detectron2.data import MetadataCatalog

from helpers.detection_changes import each, given, in_json, on_every_second, opened, removed
from helpers.detection_oracle import perfect_metrics
from helpers.detection_samples import FPN, QUIET, SIZE, one_class, with_keypoints
from helpers.escapes import ESCAPES, UNWRITABLE
from pretrain.runtime.errors import UserError
from transfer.detection import catalog

pytestmark = QUIET
BOXES, RUNS = "MODEL.MASK_ON=False", "INPUT.MASK_FORMAT=bitmask"
OWN = ("DATASETS.CLASSES=()", "MODEL.ROI_HEADS.NUM_CLASSES=0")
POINTS = (BOXES, "MODEL.KEYPOINT_ON=True", "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS=3")
POINTS += ("TEST.KEYPOINT_OKS_SIGMAS=[0.1,0.1,0.1]", *OWN)


def with_an_empty_run(number, one):
    """The box's pixels as run lengths with two runs of no pixel between, which mislead pycocotools' IoU."""
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    left, top, across, down = map(int, one["bbox"])
    mask[top : top + down, left : left + across] = True
    runs = [len(list(same)) for _, same in itertools.groupby(mask.ravel("F").tolist())]
    counts = [0, *runs] if mask[0, 0] else runs
    counts[1:2] = [counts[1] - 1, 0, 1]
    one["segmentation"] = {"size": [SIZE, SIZE], "counts": counts}


def change_ids(kind, key):
    """Give every entry of a kind another id, also where annotations name it."""

    def change(content):
        new = {one["id"]: made(place) for place, one in enumerate(content[kind])}
        for one in content[kind]:
            one["id"] = new[one["id"]]
        for one in content["annotations"]:
            one[key] = new[one[key]]

    def made(place):
        return [f"photograph {place}.jpg", f"{place}", "ä"][place % 3] + str(place)

    return change


MENDED = {
    "ids from 0": (each(lambda number, one: one.update(id=number)), (BOXES,), "renumbered"),
    "ids that are UUIDs": (each(lambda n, one: one.update(id=str(uuid.UUID(int=n + 5)))), (BOXES,), "renumbered"),
    "no ids": (removed("id"), (BOXES,), "renumbered"),
    "ids below 0": (each(lambda number, one: one.update(id=-number)), (BOXES,), "renumbered"),
    "images with texts for ids": (change_ids("images", "image_id"), (BOXES,), None),
    "categories with texts for ids": (change_ids("categories", "category_id"), (BOXES,), None),
    "no area": (removed("area"), (), "areas"),
    "area null": (given("area", None), (), "areas"),
    "area below 0": (given("area", -5), (), "areas"),
    "area beyond pycocotools' largest": (given("area", 1e11), (), "areas"),
    "area as a text": (given("area", "16"), (), "areas"),
    "no iscrowd": (removed("iscrowd"), (), "single"),
    "iscrowd null": (given("iscrowd", None), (), "single"),
    "iscrowd false": (given("iscrowd", False), (), None),
    "polygons of two points, boxes only": (on_every_second("segmentation", [[1, 1, 5, 5]]), (BOXES,), None),
    "polygons of two points": (on_every_second("segmentation", [[1, 1, 5, 5]]), (), "maskless"),
    "a polygon of two points beside another": (each(lambda _, o: o["segmentation"].append([1, 1])), (), "polygons"),
    "masks without a pixel": (on_every_second("segmentation", [[-9, 1, -5, 1, -5, 5]]), (), "maskless"),
    "run lengths with an empty run": (each(with_an_empty_run), (RUNS,), None),
    "damaged masks, boxes only": (given("segmentation", {"size": [3], "counts": "?"}), (BOXES,), None),
    "boxes of almost no width": (on_every_second("bbox", [5, 5, 1e-7, 9]), (BOXES,), "dropped"),
    "boxes that reach out": (on_every_second("bbox", [-9, -9, 40, 500]), (BOXES,), "clipped"),
}


@pytest.mark.parametrize("case", MENDED)
def test_coco_data_with_a_common_fault_are_mended_counted_and_measured_rightly(sets, case):
    change, overrides, kind = MENDED[case]
    in_json(sets, change)
    cfg, data = opened(FPN, sets, *OWN, *overrides)
    metrics = perfect_metrics(cfg, data, sets.parent / "scratch")
    assert metrics == pytest.approx(dict.fromkeys(metrics, 100)) and metrics
    told = {name for name, count in data.counts().items() if count and name in catalog.REPAIRS}
    told |= {kind for kind in ("dropped", "clipped") if data.counts()[f"boxes_{kind}"]}
    assert told - {"polygons"} == ({kind} - {"polygons", None}) and (kind is None or data.notes())


REFUSED = {
    "val without masks": (removed("segmentation"), (), "{objects} objects have no mask"),
    "val with empty masks": (given("segmentation", []), (), "{objects} objects have no mask"),
    "masks of another size": (given("segmentation", {"size": [9, 9], "counts": [0, 81]}), (RUNS,), "states the size"),
    "run lengths that end early": (
        given("segmentation", {"size": [SIZE, SIZE], "counts": [10, 20, 30]}),
        (RUNS,),
        "has run lengths of 60 pixels in all, but its image has 4,096",
    ),
    "crowds without masks": (
        lambda content: content["annotations"][0].update(iscrowd=1, segmentation=[]),
        (),
        "1 crowd regions have no mask",
    ),
    "iscrowd 2": (given("iscrowd", 2), (), "iscrowd of annotation 1 is 2: write 0 or 1"),
    "ignore": (given("ignore", 1), (), "is marked 'ignore'"),
    "no box": (removed("bbox"), (), "is None, not four finite numbers"),
    "a box of three numbers": (given("bbox", [1, 2, 3]), (), "not four finite numbers"),
    "a box of texts": (given("bbox", ["1", "2", "3", "4"]), (), "not four finite numbers"),
    "ids of images of two kinds": (lambda c: c["images"][0].update(id="a"), (), "some ids of its images are numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_of_the_validation_data_is_told_before_the_training(sets, case):
    change, overrides, sentence = REFUSED[case]
    in_json(sets, change, ["val"])
    objects = len(json.loads((sets / "coco/annotations/instances_val2017.json").read_text())["annotations"])
    with pytest.raises(UserError) as caught:
        opened(FPN, sets, *OWN, *overrides)
    assert sentence.format(objects=objects) in str(caught.value) and "val2017" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (removed("keypoints"), "holds no visible keypoint"),
        (given("keypoints", [1, 1, 2]), "are not 9 finite numbers"),
        (given("keypoints", [1, 1, 7] * 3), "has the visibility 7"),
        (given("keypoints", [900, 1, 2] * 3), "holds no visible keypoint"),
        (lambda content: content["categories"][0].update(keypoints=["a", "a", "b"]), "or one twice"),
        (lambda content: content["categories"][0].update(keypoints=7), "no list of names"),
    ],
)
def test_keypoints_that_cannot_be_measured_are_told_before_the_training(sets, change, sentence):
    one_class(sets)
    with_keypoints(sets)
    in_json(sets, change, ["val"])
    with pytest.raises(UserError, match=sentence):
        opened(FPN, sets, *POINTS)


def test_keypoints_keep_their_places_and_objects_without_any_are_not_labelled(sets):
    one_class(sets)
    with_keypoints(sets)
    in_json(sets, removed("num_keypoints"))
    in_json(sets, lambda content: content["annotations"][0].pop("keypoints"))
    _, data = opened(FPN, sets, *POINTS)
    assert data.counts()["pointless"] == 2
    truth = json.loads(Path(MetadataCatalog.get(data.test).json_file).read_text())["annotations"]
    assert [one["num_keypoints"] for one in truth] == [0] + [2] * (len(truth) - 1)
    left, top, _, _ = truth[1]["bbox"]
    assert truth[1]["keypoints"][:3] == [left + 1, top + 1, 2]  # as written; detectron2's records count from the middle
    taught = data.readings[data.test].records[0]["annotations"]
    assert taught[1]["keypoints"][:3] == [left + 1.5, top + 1.5, 2] and not any(taught[0]["keypoints"])


@pytest.mark.parametrize(
    "change",
    [
        lambda content: None,
        removed("num_keypoints"),
        given("num_keypoints", 7),
        removed("area"),
        lambda content: content["annotations"][0].pop("keypoints"),
        lambda content: content["annotations"][0].update(keypoints=[0, 0, 0, 1.5, 2.25, 1, 900, 1, 2]),
        lambda content: content["annotations"][0].update(id=0),
    ],
)
def test_a_perfect_detector_of_keypoints_reaches_ap_100(sets, tmp_path, change):
    one_class(sets)
    with_keypoints(sets)
    in_json(sets, change)
    metrics = perfect_metrics(*opened(FPN, sets, *POINTS), tmp_path / "measured")
    assert {"bbox_AP", "keypoints_AP", "keypoints_AP50"} <= set(metrics)
    assert metrics == pytest.approx(dict.fromkeys(metrics, 100))


@pytest.mark.parametrize("name", [*ESCAPES, *UNWRITABLE], ids=ascii)
def test_no_name_in_a_json_has_an_image_read_outside_the_folder(sets, name):
    in_json(sets, lambda content: content["images"][0].update(file_name=name), ["val"])
    with pytest.raises(UserError, match="holds the name"):
        opened(FPN, sets)


def test_an_image_behind_a_link_in_the_folder_is_read(sets):
    (sets / "coco" / "val2017").rename(sets / "elsewhere")
    (sets / "coco" / "val2017").mkdir()
    (sets / "coco" / "val2017" / "linked").symlink_to(sets / "elsewhere")
    change = lambda content: [one.update(file_name=f"linked/{one['file_name']}") for one in content["images"]]  # noqa: E731
    in_json(sets, change, ["val"])
    assert opened(FPN, sets)[1].counts()["val"] == 3
