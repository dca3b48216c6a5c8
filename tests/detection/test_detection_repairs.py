"""What is mended in detection data is counted, and what training sees is what every evaluator measures against."""

import itertools
import json
import uuid
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("detectron2")

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from PIL import Image

from helpers.detection_oracle import perfect_metrics
from helpers.detection_samples import C4, FPN, QUIET, SIZE, one_class, tiny, with_keypoints, write_sets
from helpers.escapes import ESCAPES, UNWRITABLE
from pretrain.runtime.errors import UserError
from transfer.detection.config import load
from transfer.detection.data import catalog

pytestmark = QUIET
BOXES, RUNS = "MODEL.MASK_ON=False", "INPUT.MASK_FORMAT=bitmask"
OWN = ("DATASETS.CLASSES=()", "MODEL.ROI_HEADS.NUM_CLASSES=0")
POINTS = (BOXES, "MODEL.KEYPOINT_ON=True", "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS=3")
POINTS += ("TEST.KEYPOINT_OKS_SIGMAS=[0.1,0.1,0.1]", *OWN)
BY_VOC = "DATASETS.EVALUATOR=voc"


@pytest.fixture
def sets(tmp_path):
    return write_sets(tmp_path / "sets")


def opened(config, sets, *more):
    cfg = load.load_config(config, tiny(config, sets, "random", *more))
    return cfg, catalog.open_datasets(cfg, sets.parent / "scratch")


def in_json(sets, change, splits=("train", "val")):
    for split in splits:
        path = sets / "coco" / "annotations" / f"instances_{split}2017.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def each(change):
    return lambda content: [change(number, one) for number, one in enumerate(content["annotations"])]


def removed(key):
    return each(lambda _, one: one.pop(key))


def given(key, value):
    return each(lambda _, one: one.update({key: value}))


def on_every_second(key, value):
    return each(lambda number, one: one.update({key: value}) if number % 2 else None)


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


# Pascal VOC's folders


def in_xml(sets, change, split="val"):
    for name in (sets / "voc" / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
        path = sets / "voc" / "Annotations" / f"{name}.xml"
        tree = ElementTree.parse(path)
        change(tree.getroot())
        tree.write(path)


def of_objects(change):
    return lambda root: [change(one) for one in root.iterfind("object")]


def without(key):
    return of_objects(lambda one: one.remove(one.find(key)))


def put(key, text):
    def change(one):
        (one.find(key) if one.find(key) is not None else ElementTree.SubElement(one, key)).text = text

    return change


def decimals(one):
    for side in one.find("bndbox"):
        side.text = str(float(side.text) + 0.25)


VOC_MENDED = {
    "as written": lambda root: None,
    "decimals": of_objects(decimals),
    "no pose": without("pose"),
    "no difficult": without("difficult"),
    "no truncated": without("truncated"),
    "white space in a name": of_objects(lambda one: put("name", f"\n {one.findtext('name')}\n")(one)),
    "a box without area": lambda root: put("bndbox/xmax", root.findtext("object/bndbox/xmin"))(root.find("object")),
    "a box reaching out": lambda root: put("bndbox/xmax", "90")(root.find("object")),
    "an object twice": lambda root: root.append(root.find("object")),
    "a difficult object": lambda root: put("difficult", "1")(root.find("object")),
    "no size": lambda root: root.remove(root.find("size")),
    "size 0": lambda root: [put("width", "0")(root.find("size")), put("height", "0")(root.find("size"))],
}


@pytest.mark.parametrize("case", VOC_MENDED)
def test_both_evaluators_of_a_voc_folder_see_the_records_that_were_trained_on(sets, case):
    in_xml(sets, VOC_MENDED[case])
    for evaluator in (BY_VOC, "DATASETS.EVALUATOR=coco"):
        cfg, data = opened(C4, sets, evaluator)
        metrics = perfect_metrics(cfg, data, sets.parent / "scratch")
        assert metrics == pytest.approx(dict.fromkeys(("bbox_AP", "bbox_AP50", "bbox_AP75"), 100))


@pytest.mark.parametrize("year", ["voc", "VOC2012"])
def test_ap_by_the_rules_of_voc_is_what_detectron2_computes_on_a_clean_folder(sets, year):
    """Random boxes near the objects, some of them marked difficult, under both of VOC's rules for AP."""
    from detectron2.evaluation import PascalVOCDetectionEvaluator
    from detectron2.structures import Boxes, Instances

    from transfer.detection.evaluation.voc_ap import CheckedVOCEvaluator

    in_xml(
        sets, lambda root: put("difficult", "1")(root.findall("object")[-1]) if len(root.findall("object")) > 2 else 0
    )
    if year == "VOC2012":
        (sets / "voc").rename(sets / year)
    _, data = opened(C4, sets, BY_VOC, f"DATASETS.ROOT={sets / year}")
    MetadataCatalog.get(data.test).set(dirname=str(sets / year), split="val")
    judges = [CheckedVOCEvaluator(data.test), PascalVOCDetectionEvaluator(data.test)]
    generator = np.random.default_rng(0)
    for judge in judges:
        judge.reset()
    for record in data.readings[data.test].records:
        found = Instances((SIZE, SIZE))
        boxes = np.array([one["bbox"] for one in record["annotations"]] * 4, dtype=np.float32)
        found.pred_boxes = Boxes(torch.from_numpy(boxes + generator.normal(0, 1, boxes.shape).astype(np.float32)))
        found.scores = torch.from_numpy(generator.random(len(boxes)))
        found.pred_classes = torch.tensor([one["category_id"] for one in record["annotations"]] * 4)
        for judge in judges:
            judge.process([record], [{"instances": found}])
    ours, theirs = (judge.evaluate()["bbox"] for judge in judges)
    assert 5 < theirs["AP"] < 95 and ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: put("width", "160")(root.find("size")), "says that its image is (160, 64)"),
        (lambda root: put("width", "wide")(root.find("size")), "no finite number"),
        (of_objects(put("difficult", "perhaps")), "difficult is 'perhaps'"),
        (of_objects(put("bndbox/xmin", "nan")), "no finite number"),
        (without("bndbox"), "no finite number"),
        (without("name"), "has no name"),
        (lambda root: setattr(root, "tag", "html"), "outermost element is <html>"),
    ],
)
def test_an_annotation_that_does_not_fit_its_image_is_told(sets, change, sentence):
    in_xml(sets, change)
    with pytest.raises(UserError) as caught:
        opened(C4, sets)
    assert sentence in str(caught.value)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation><object><name>&l11;</name></object></annotation>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>',
        f"<annotation>{'<a>' * 2_000_000}",
        '<?xml version="1.0" encoding="of nobody"?><annotation/>',
        '<?xml version="1.0" encoding="shift_jis"?><annotation/>',
        "<html><body>log in</body></html>",
    ],
    ids=["entities", "another file", "large", "no encoding", "encoding", "page"],
)
def test_a_hostile_xml_is_told_before_it_costs_anything(sets, text):
    name = (sets / "voc" / "ImageSets" / "Main" / "val.txt").read_text().split()[0]
    (sets / "voc" / "Annotations" / f"{name}.xml").write_text(text)
    with pytest.raises(UserError, match="cannot be read as a VOC annotation") as caught:
        opened(C4, sets)
    assert "root:" not in str(caught.value)


def test_a_split_of_which_pascal_voc_counts_no_object_is_told(sets):
    in_xml(sets, of_objects(put("difficult", "1")))
    with pytest.raises(UserError, match="every object is marked difficult"):
        opened(C4, sets, BY_VOC)
    assert opened(C4, sets)[1].counts()["val_boxes"] > 0


# images and names


def test_a_16_bit_image_is_scaled_to_8_and_said(sets):
    from detectron2.data.detection_utils import read_image

    first = sorted((sets / "voc" / "JPEGImages").glob("*.jpg"))[0]
    grey = np.asarray(Image.open(first).convert("L"))
    first.unlink()
    Image.fromarray(grey.astype(np.uint16) * 256 + 7).save(first.with_suffix(".png"))
    _, data = opened(C4, sets)
    seen = read_image(data.readings[data.train[0]].records[0]["file_name"], "RGB")
    np.testing.assert_array_equal(seen, np.repeat(grey[:, :, None], 3, axis=2))
    assert data.counts()["deep"] == 1 and first.stem in "".join(data.notes())


def test_the_image_of_a_stem_is_the_one_that_the_annotation_names(sets):
    first = sorted((sets / "voc" / "JPEGImages").glob("*.jpg"))[0]
    Image.new("RGB", (SIZE, SIZE)).save(first.with_suffix(".bmp"))
    first.with_suffix(".json").write_text("{}")
    first.with_name(f"._{first.name}").write_bytes(b"of macOS")
    _, data = opened(C4, sets)
    assert data.readings[data.train[0]].records[0]["file_name"] == str(first)
    in_xml(sets, lambda root: root.remove(root.find("filename")), "train")
    with pytest.raises(UserError, match=r"is both 000001\.bmp and 000001\.jpg"):
        opened(C4, sets)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_and_json_may_begin_with_a_mark_of_their_encoding(sets, encoding):
    for path in (sets / "voc/ImageSets/Main/val.txt", sets / "coco/annotations/instances_val2017.json"):
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert opened(C4, sets)[1].counts()["val"] == opened(FPN, sets)[1].counts()["val"] == 3


def test_names_of_splits_that_look_alike_do_not_collide(sets):
    lists = sets / "voc" / "ImageSets" / "Main"
    names = (lists / "train.txt").read_text().split()
    for name, part in (("a-b", names[:1]), ("a_b", names[1:2]), ("a b", names[2:])):
        (lists / f"{name}.txt").write_text("\n".join(part))
    _, data = opened(C4, sets, "DATASETS.TRAIN=('a-b','a_b')", "DATASETS.TEST=('a b',)")
    assert len({*data.train, data.test}) == 3 and data.counts()["train"] == 2 and data.counts()["val"] == 2
    taught = {record["image_id"] for name in data.train for record in data.readings[name].records}
    assert taught == set(names[:2])


def test_an_image_of_which_nothing_would_be_left_is_told(sets):
    first = sorted((sets / "coco" / "val2017").glob("*.jpg"))[0]
    Image.new("RGB", (1, 40_000)).save(first)

    def change(content):
        image = next(one for one in content["images"] if one["file_name"] == first.name)
        image.update(width=1, height=40_000)
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] != image["id"]]

    in_json(sets, change, ["val"])
    with pytest.raises(UserError, match="1x40000 pixels, of which nothing is left"):
        opened(FPN, sets)
