"""Detection folders as images of several classes: what is read, what is refused, and both evaluators on them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.outcomes import retold
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from transfer import results
from transfer.datasets.multilabel import open_multilabel
from transfer.datasets.splits import Splits

SIDE = 24
COLOURS = {"bird": (220, 60, 60), "cat": (60, 220, 60), "dog": (60, 60, 220)}
OBJECT = "<object><name>{}</name><difficult>{}</difficult><bndbox>{}</bndbox></object>"
BOX = "<xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax>"
FEW = Splits(least=1)


def picture(path, names, seed):
    """Noise with a stripe of the colour of each class that is there."""
    pixels = np.random.default_rng(seed).normal(120, 30, (SIDE, SIDE, 3))
    for place, name in enumerate(COLOURS):
        if name in names:
            pixels[8 * place : 8 * place + 8] = COLOURS[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def write_voc(root, splits):
    """splits: {name: {image: [(class, difficult), ...]}}."""
    for split, images in splits.items():
        listing = root / "ImageSets" / "Main" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"{name}\n" for name in images))
        for seed, (name, objects) in enumerate(images.items()):
            picture(root / "JPEGImages" / f"{name}.png", [one for one, _ in objects], seed)
            (root / "Annotations").mkdir(exist_ok=True)
            inner = "".join(OBJECT.format(one, int(difficult), BOX) for one, difficult in objects)
            (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{inner}</annotation>")
    return root


def write_coco(root, splits):
    """splits: {name: [[(class, area, width of the box), ...] an image]}."""
    categories = [{"id": 10 + place, "name": name} for place, name in enumerate(COLOURS)]
    ids = {one["name"]: one["id"] for one in categories}
    (root / "annotations").mkdir(parents=True)
    for split, shown in splits.items():
        images = [
            {"id": at, "file_name": f"{split}{at}.png", "width": SIDE, "height": SIDE} for at in range(len(shown))
        ]
        annotations = []
        for at, objects in enumerate(shown):
            picture(root / split / f"{split}{at}.png", [name for name, *_ in objects], at)
            for name, area, width in objects:
                one = {"id": len(annotations) + 1, "image_id": at, "category_id": ids[name], "iscrowd": 0}
                annotations.append(one | {"bbox": [0, 0, width, 5], "area": area})
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def cycle(count, first=0):
    """Images that show one, two or no class, in turn."""
    shown = [["bird"], ["cat"], ["bird", "dog"], ["cat", "dog"], []]
    return [shown[(first + at) % 5] for at in range(count)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A VOC and a COCO folder of the same classes, and a trunk."""
    root = tmp_path_factory.mktemp("place")
    voc = {split: {f"{split}{at}": [(one, False) for one in names] for at, names in enumerate(cycle(count))}
           for split, count in (("trainval", 15), ("test", 10))}  # fmt: skip
    write_voc(root / "voc", voc)
    coco = {split: [[(one, 30, 9) for one in names] for names in cycle(count)]
            for split, count in (("train2017", 15), ("val2017", 10))}  # fmt: skip
    write_coco(root / "coco", coco)
    torch.manual_seed(0)
    export_trunk(root / "trunk.pth", build_trunk("resnet18", zero_init_residual=False)[0], "resnet18", {"step": 0})
    return root


def command(place, out, task, layout, *more):
    quick = ["image_size=24", "workers=0", "device=cpu", "batch_size=16"]
    words = ["--checkpoint", str(place / "trunk.pth"), "--data", str(place / layout), "--out", str(out)]
    return [task, *words, *quick, *more]


def test_a_class_whose_objects_are_all_difficult_is_neither_there_nor_absent(tmp_path):
    images = {
        "a": [("cat", True), ("cat", False), ("dog", True)],
        "b": [("dog", False)],
        "c": [("cat", True)],
        "d": [],
    }
    data = open_multilabel(write_voc(tmp_path, {"train": images, "val": images}), FEW)
    assert data.train.classes == ("cat", "dog")
    assert data.marks[0].tolist() == [[1, -1], [0, 1], [-1, 0], [0, 0]]
    assert [data.train.key(at) for at in range(4)] == ["a.png", "b.png", "c.png", "d.png"]


def test_coco_counts_objects_with_an_area_and_more_than_a_pixel(tmp_path):
    shown = [[("cat", 30, 9)], [("cat", 0, 9), ("bird", 30, 9)], [("cat", 30, 1), ("dog", 30, 9)]]
    data = open_multilabel(write_coco(tmp_path, {"train": shown, "val": shown}), FEW)
    assert data.train.classes == ("bird", "cat", "dog")
    assert data.marks[1].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_classes_that_cannot_be_learnt_or_measured_are_left_out_and_told(tmp_path):
    train = {"a": [("cat", False)], "b": [("cat", False), ("dog", False)], "c": [("bird", False)], "d": []}
    test = {"e": [("cat", False)], "f": [("dog", False)]}
    data = open_multilabel(write_voc(tmp_path, {"train": train, "test": test}), Splits(least=2))
    assert data.train.classes == ("cat",) and data.marks[1].tolist() == [[1], [0]]
    assert "2 classes left out (bird, dog)" in data.train.about


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_both_evaluators_share_the_rows_of_either_layout_and_know_the_stripes(place, tmp_path, capsys, layout):
    more = ["shots=[1,2]", "draws=2", "costs=[1.0]"]
    evaluate.main(command(place, tmp_path / "{task}.json", "multilabel,svm", layout, *more))
    assert capsys.readouterr().out.count("features of") == 2
    linear, svm = (results.load(tmp_path / f"{task}.json") for task in ("multilabel", "svm"))
    assert linear.counts == svm.counts == {"train": 15, "val": 10, "skipped": 0, "classes": 3}
    assert linear.metrics["mAP area"] == pytest.approx(100)
    assert set(linear.settings["found"]["AP area of each class"]) == set(COLOURS)
    assert list(svm.metrics)[3:] == ["k=1 mAP", "k=1 std", "k=2 mAP", "k=2 std"]
    assert retold(linear, tmp_path)[0] == list(linear.metrics) and retold(svm, tmp_path)[0] == list(svm.metrics)[:3]
    assert svm.metrics["all images mAP area"] > 90 and svm.settings["found"]["costs_of_shots"] == {"1": 1.0, "2": 1.0}


@pytest.mark.parametrize(
    ("task", "more", "sentence"),
    [
        ("svm", ["shots=[4,9]"], "shots has 9, but class '.*' is in 6 images of train: lower shots"),
        ("svm", ["splits.least=2", "shots=[1]"], "splits.least=2 is below the 3 folds of svm"),
        ("svm", ["full=false", "shots=[]"], "svm has nothing to do"),
        ("multilabel", ["splits.test=valid"], "valid.txt does not exist: give splits.train and splits.test"),
        ("multilabel", ["splits.least=14"], "none of the 3 classes is in 14 images of train"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_image_is_read(place, tmp_path, capsys, task, more, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluate.main(command(place, tmp_path / "r.json", task, "voc", *more))
    assert "features of" not in capsys.readouterr().out


def test_folders_of_no_layout_and_splits_of_two_sets_are_refused(place, tmp_path):
    with pytest.raises(UserError, match="has neither ImageSets/Main .VOC. nor annotations .COCO."):
        open_multilabel(tmp_path, FEW)
    train, test = {"a": [("cat", False)], "b": []}, {"c": [("cow", False)]}
    write_voc(tmp_path, {"train": train, "test": test})
    with pytest.raises(UserError, match="the test split has 1 classes that the train split has not, such as 'cow'"):
        open_multilabel(tmp_path, FEW)
    (tmp_path / "ImageSets" / "Main" / "test.txt").rename(tmp_path / "ImageSets" / "Main" / "other.txt")
    with pytest.raises(UserError, match="does not tell its test split .it has other, train.: give splits.test"):
        open_multilabel(tmp_path, FEW)
