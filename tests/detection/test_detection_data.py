"""Detection data: both layouts are read as detectron2 reads them; what is damaged is left out, counted and named."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("detectron2")

import numpy as np
from PIL import Image

from helpers.detection_samples import C4, FPN, NAMES, SIZE, one_class, tiny, with_keypoints
from pretrain.runtime.errors import UserError
from transfer.detection import catalog
from transfer.detection.config import load


def opened(config, root, scratch, *more):
    return catalog.open_datasets(load.load_config(config, tiny(config, root, "random", *more)), scratch)


def first_annotation(sets):
    return sorted((sets / "voc" / "Annotations").glob("*.xml"))[0]


def change_box(annotation, **corners):
    tree = ElementTree.parse(annotation)
    for key, value in corners.items():
        tree.find(f"object/bndbox/{key}").text = str(value)
    tree.write(annotation)


def test_voc_layout_is_read_as_by_detectron2(sets, tmp_path):
    from detectron2.data.datasets.pascal_voc import load_voc_instances

    data = opened(C4, sets, tmp_path)
    for name, split in ((data.train[0], "train"), (data.test, "val")):
        theirs = load_voc_instances(str(sets / "voc"), split, NAMES)
        ours = data.readings[name].records
        assert [record["image_id"] for record in ours] == [record["image_id"] for record in theirs]
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine["file_name"], mine["width"], mine["height"]) == (other["file_name"], SIZE, SIZE)
            for box, expected in zip(mine["annotations"], other["annotations"], strict=True):
                assert box["category_id"] == expected["category_id"]
                np.testing.assert_array_equal(box["bbox"], expected["bbox"])
    assert data.classes == tuple(NAMES) and data.notes() == []
    assert data.counts()["train"] == 4 and data.counts()["val"] == 3


def test_coco_layout_is_read_as_by_pycocotools(sets, tmp_path):
    from pycocotools.coco import COCO

    data = opened(FPN, sets, tmp_path)
    truth = COCO(str(sets / "coco" / "annotations" / "instances_train2017.json"))
    for record in data.readings[data.train[0]].records:
        expected = truth.loadAnns(truth.getAnnIds(imgIds=[record["image_id"]]))
        assert [found["bbox"] for found in record["annotations"]] == [found["bbox"] for found in expected]
        assert [data.classes[found["category_id"]] for found in record["annotations"]] == [
            truth.loadCats([found["category_id"]])[0]["name"] for found in expected
        ]


def test_boxes_without_an_area_are_dropped_and_boxes_reaching_out_are_clipped(sets, tmp_path):
    """What BCCD holds: (181, 329, 181, 329); and a box beyond the right and lower edges."""
    annotations = sorted((sets / "voc" / "Annotations").glob("*.xml"))
    change_box(annotations[0], xmin=9, ymin=9, xmax=9, ymax=9)
    change_box(annotations[1], xmin=-4, ymin=1, xmax=SIZE + 9, ymax=SIZE + 3)
    before = sum(len(ElementTree.parse(path).findall("object")) for path in annotations)
    data = opened(C4, sets, tmp_path)
    counts = data.counts()
    assert (counts["boxes_dropped"], counts["boxes_clipped"]) == (1, 1)
    assert counts["train_boxes"] + counts["val_boxes"] == before - 1
    clipped = data.readings[data.train[0]].records[1]["annotations"][0]
    assert clipped["bbox"] == [0, 0, SIZE, SIZE]
    told = "\n".join(data.notes())
    assert annotations[0].name in told and "(9, 9, 9, 9)" in told and annotations[1].name in told


@pytest.mark.parametrize("config", [C4, FPN], ids=["voc", "coco"])
def test_a_damaged_image_is_skipped_counted_and_named(sets, tmp_path, config):
    folder = sets / ("voc/JPEGImages" if config == C4 else "coco/val2017")
    damaged = sorted(folder.glob("*.jpg"))[-1]  # a validation image
    damaged.write_bytes(damaged.read_bytes()[:-400])
    data = opened(config, sets, tmp_path / "scratch")
    assert data.counts()["skipped"] == 1 and data.counts()["val"] == 2
    assert str(damaged) in "\n".join(data.notes())
    if config == FPN:  # it must not count as a miss either
        from detectron2.data import MetadataCatalog

        truth = json.loads(Path(MetadataCatalog.get(data.test).json_file).read_text())
        kept = {record["image_id"] for record in data.readings[data.test].records}
        assert {image["id"] for image in truth["images"]} == kept
        assert {found["image_id"] for found in truth["annotations"]} <= kept


def spoil_voc(sets, kind):
    voc, annotation = sets / "voc", first_annotation(sets)
    if kind == "class":
        annotation.write_text(annotation.read_text().replace(f"<name>{NAMES[0]}", "<name>zebra"))
        annotation.write_text(annotation.read_text().replace(f"<name>{NAMES[1]}", "<name>zebra"))
    elif kind == "image":
        sorted((voc / "JPEGImages").glob("*.jpg"))[0].unlink()
    elif kind == "empty":
        (voc / "ImageSets" / "Main" / "val.txt").write_text("\n")
    elif kind == "list":
        (voc / "ImageSets" / "Main" / "val.txt").unlink()
    elif kind == "xml":
        annotation.write_text("<annotation><object>")
    elif kind == "number":
        change_box(annotation, xmin="left")
    elif kind == "root":
        shutil.rmtree(voc)
    elif kind == "twice":
        listing = voc / "ImageSets" / "Main" / "val.txt"
        listing.write_text(2 * listing.read_text())


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("class", "class 'zebra', which is not in DATASETS.CLASSES"),
        ("image", "lacks 1 images of split 'train'"),
        ("empty", "split 'val' is empty"),
        ("list", "val.txt does not exist"),
        ("xml", "cannot be read as a VOC annotation"),
        ("number", "cannot be read as a VOC annotation"),
        ("root", "does not exist: check DATASETS.ROOT"),
        ("twice", "val.txt names 3 images more than once"),
    ],
)
def test_a_broken_voc_set_is_told_in_one_sentence(sets, tmp_path, kind, sentence):
    spoil_voc(sets, kind)
    with pytest.raises(UserError) as caught:
        opened(C4, sets, tmp_path)
    assert sentence in str(caught.value)


def spoil_coco(sets, kind):
    listing = sets / "coco" / "annotations" / "instances_val2017.json"
    content = json.loads(listing.read_text())
    if kind == "image":
        sorted((sets / "coco" / "val2017").glob("*.jpg"))[0].unlink()
    elif kind == "empty":
        content["images"] = content["annotations"] = []
    elif kind == "objects":
        content["annotations"] = []
    elif kind == "category":
        content["annotations"][0]["category_id"] = 99
    elif kind == "classes":
        content["categories"][0]["name"] = "zebra"
    elif kind == "size":
        content["images"][0]["width"] += 1
    elif kind == "image ids":
        content["images"].append(content["images"][0])
    elif kind == "annotation ids":
        content["annotations"][1]["id"] = content["annotations"][0]["id"]
    elif kind == "names":
        content["categories"][1]["name"] = content["categories"][0]["name"]
    elif kind == "box":
        content["annotations"][0]["bbox"][2] = float("nan")
    elif kind == "crowds":
        for found in content["annotations"]:
            found["iscrowd"] = 1
    elif kind == "keys":
        del content["categories"]
    listing.write_text("[" if kind == "json" else json.dumps(content))
    if kind == "list":
        listing.unlink()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("image", "1 images of"),
        ("empty", "lists no image"),
        ("objects", "holds no annotated object"),
        ("category", "category_id=99"),
        ("classes", "holds the classes zebra"),
        ("size", f"is {SIZE + 1}x{SIZE}, but the image is"),
        ("json", "is not a COCO instances file"),
        ("keys", "is not a COCO instances file: it lacks 'categories'"),
        ("image ids", "gives 1 ids of its images to more than one entry"),
        ("annotation ids", "gives 1 ids of its annotations to more than one entry"),
        ("names", "has two categories named"),
        ("box", "not four finite numbers"),
        ("crowds", "holds no annotated object"),
        ("list", "instances_val2017.json does not exist"),
    ],
)
def test_a_broken_coco_set_is_told_in_one_sentence(sets, tmp_path, kind, sentence):
    spoil_coco(sets, kind)
    with pytest.raises(UserError) as caught:
        opened(FPN, sets, tmp_path)
    assert sentence in str(caught.value)


def test_boxes_outside_their_image_and_strays_are_told_and_do_not_count(sets, tmp_path):
    """Of the evaluation's ground truth as well: nobody can find an object that is not there."""
    from detectron2.data import MetadataCatalog

    for split in ("train", "val"):
        listing = sets / "coco" / "annotations" / f"instances_{split}2017.json"
        content = json.loads(listing.read_text())
        first, second, third = content["annotations"][:3]
        first["bbox"], second["bbox"] = [5, 5, 0, 9], [SIZE + 3, 2, 9, 9]
        third["bbox"] = [-9, 2, SIZE + 30, 9]
        content["annotations"].append({**third, "id": 10_000, "image_id": 77_777})
        listing.write_text(json.dumps(content))
    data = opened(FPN, sets, tmp_path / "scratch")
    counts = data.counts()
    assert (counts["boxes_dropped"], counts["boxes_clipped"]) == (4, 2)
    assert [0, 2, SIZE, 9] in [
        one["bbox"] for record in data.readings[data.test].records for one in record["annotations"]
    ]
    told = "\n".join(data.notes())
    assert "annotation 10000 of image 77777" in told and f"[{SIZE + 3}, 2, 9, 9]" in told
    truth = json.loads(Path(MetadataCatalog.get(data.test).json_file).read_text())
    assert len(truth["annotations"]) == len(content["annotations"]) - 3


def test_images_with_nothing_or_only_crowds_are_told_and_do_not_teach(sets, tmp_path):
    from detectron2.data import get_detection_dataset_dicts

    listing = sets / "coco" / "annotations" / "instances_train2017.json"
    content = json.loads(listing.read_text())
    bare, crowded = [image["id"] for image in content["images"][:2]]
    content["annotations"] = [found for found in content["annotations"] if found["image_id"] != bare]
    for found in content["annotations"]:
        found["iscrowd"] = int(found["image_id"] == crowded)
    listing.write_text(json.dumps(content))
    data = opened(FPN, sets, tmp_path)
    assert data.counts()["train_without_object"] == 2 and data.counts()["train"] == 4
    assert "2 images without an object (no annotation, or crowds only) teach nothing" in "\n".join(data.notes())
    taught = {record["image_id"] for record in get_detection_dataset_dicts(data.train, filter_empty=True)}
    assert len(taught) == 2 and not taught & {bare, crowded}


def test_any_json_and_folder_are_one_line_of_configuration(sets, tmp_path):
    coco = sets / "coco"
    (coco / "annotations" / "instances_train2017.json").rename(coco / "mine.json")
    (coco / "train2017").rename(coco / "pictures")
    own = ("DATASETS.TRAIN=('mine.json:pictures',)", "MODEL.ROI_HEADS.NUM_CLASSES=0", "DATASETS.CLASSES=()")
    cfg = load.load_config(FPN, tiny(FPN, sets, "random", *own))
    data = catalog.open_datasets(cfg, tmp_path)
    assert data.counts()["train"] == 4 and data.counts()["val"] == 3
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == len(data.classes) == 2  # 0 is the data's own number


def test_keypoints_are_read_with_their_names_and_mirror_images(sets, tmp_path):
    from detectron2.data import MetadataCatalog

    with_points = (
        "MODEL.KEYPOINT_ON=True",
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS=3",
        "MODEL.MASK_ON=False",
        "DATASETS.CLASSES=()",
        "MODEL.ROI_HEADS.NUM_CLASSES=1",
    )
    one_class(sets)
    with pytest.raises(UserError, match="split .*NUM_KEYPOINTS=3, but it names 0 keypoints"):
        opened(FPN, sets, tmp_path, *with_points)
    with_keypoints(sets)
    with pytest.raises(UserError, match="KEYPOINT_OKS_SIGMAS lists 0 numbers"):
        opened(FPN, sets, tmp_path, *with_points)
    with_points += ("TEST.KEYPOINT_OKS_SIGMAS=[0.03,0.03,0.03]",)
    data = opened(FPN, sets, tmp_path, *with_points)
    metadata = MetadataCatalog.get(data.train[0])
    assert metadata.keypoint_names == ("nose", "left_eye", "right_eye")
    assert metadata.keypoint_flip_map == (("left_eye", "right_eye"),)


def test_masks_that_are_missing_or_run_length_coded_are_told_before_training(sets, tmp_path):
    listing = sets / "coco" / "annotations" / "instances_train2017.json"
    content = json.loads(listing.read_text())
    for mask, sentence in (
        (None, "split .*: 1 objects have no mask"),
        ({"size": [SIZE, SIZE], "counts": [9, SIZE * SIZE - 9]}, "bitmask"),
    ):
        content["annotations"][0]["segmentation"] = mask
        listing.write_text(json.dumps(content))
        with pytest.raises(UserError, match=sentence):
            opened(FPN, sets, tmp_path)
    opened(FPN, sets, tmp_path, "INPUT.MASK_FORMAT=bitmask")


def test_the_root_comes_from_the_environment_or_is_asked_for(sets, tmp_path, monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    with pytest.raises(UserError, match="set DATASETS.ROOT=FOLDER or the environment variable DETECTRON2_DATASETS"):
        opened(C4, sets, tmp_path, "DATASETS.ROOT=")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(sets))
    data = opened(C4, sets, tmp_path, "DATASETS.ROOT=", "DATASETS.TRAIN=('voc/train',)", "DATASETS.TEST=('voc/val',)")
    assert data.counts()["train"] == 4


def test_the_benchmarks_names_lead_to_the_fields_folders(sets, tmp_path):
    """detectron2's builtin.py: voc_2007_trainval lies in VOC2007, split trainval; coco_2017_val in coco/val2017."""
    (sets / "voc").rename(sets / "VOC2007")
    shutil.copy(sets / "VOC2007/ImageSets/Main/train.txt", sets / "VOC2007/ImageSets/Main/trainval.txt")
    shutil.copy(sets / "VOC2007/ImageSets/Main/val.txt", sets / "VOC2007/ImageSets/Main/test.txt")
    names = ("DATASETS.TRAIN=('voc_2007_trainval',)", "DATASETS.TEST=('voc_2007_test',)", f"DATASETS.ROOT={sets}")
    assert opened(C4, sets, tmp_path, *names).counts()["val"] == 3
    names = ("DATASETS.TRAIN=('coco_2017_train',)", "DATASETS.TEST=('coco_2017_val',)", f"DATASETS.ROOT={sets}")
    assert opened(FPN, sets, tmp_path, *names).counts()["val"] == 3


def test_the_number_of_classes_must_be_the_sets(sets, tmp_path):
    with pytest.raises(UserError, match="has 2 classes: set it to 2"):
        opened(FPN, sets, tmp_path, "MODEL.ROI_HEADS.NUM_CLASSES=80")


def test_a_rotated_photograph_is_as_wide_as_detectron2_sees_it(tmp_path):
    from detectron2.data.detection_utils import read_image

    from transfer.annotations.images import look_at

    exif = Image.Exif()
    exif[274] = 6  # "rotate 90 degrees clockwise to view", as telephones write it
    path = tmp_path / "portrait.jpg"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    height, width, _ = read_image(str(path), format="RGB").shape
    assert look_at([path])[path].size == (width, height) == (20, 40)
