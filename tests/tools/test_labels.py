"""Masks become label images below the given folder and nowhere else; what cannot be painted is one sentence."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers.escapes import ESCAPES, UNWRITABLE
from pretrain.runtime.errors import UserError
from tools import prepare_data
from tools.datasets import labels

pytestmark = pytest.mark.filterwarnings(  # pycocotools
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
TRIANGLE = [[0, 0, 4, 0, 4, 4]]


def a_listing(path, change=lambda content: None, names=("a.jpg",)):
    content = {
        "images": [{"id": number, "file_name": name, "width": 8, "height": 6} for number, name in enumerate(names, 1)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16, "segmentation": TRIANGLE}
        ],
        "categories": [{"id": 1, "name": "x"}],
    }
    change(content)
    path.write_text(json.dumps(content))
    return path


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [*ESCAPES, *UNWRITABLE], ids=ascii)
def test_no_name_in_the_json_is_written_outside_the_folder(tmp_path, name):
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (8, 6), (9, 99, 199)).save(tmp_path / "out.png")  # a photograph
    listing = a_listing(tmp_path / "in.json", names=("fine.jpg", name))
    before = files_below(tmp_path)
    with pytest.raises(UserError, match="holds the name"):
        labels.paint_labels(listing, tmp_path / "deep" / "root", False)
    assert files_below(tmp_path) == before


def test_neither_an_absolute_name_nor_a_link_overwrites_a_photograph(tmp_path):
    photograph = tmp_path / "mine" / "photo.png"
    photograph.parent.mkdir()
    Image.new("RGB", (8, 6), (9, 99, 199)).save(photograph)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(photograph.parent)
    for name in (str(photograph), "link/photo.jpg"):
        with pytest.raises(UserError, match="lies outside|leads through the link"):
            labels.paint_labels(a_listing(tmp_path / "in.json", names=(name,)), tmp_path / "out", False)
    assert Image.open(photograph).getpixel((0, 0)) == (9, 99, 199)


def test_a_picture_that_was_not_painted_here_is_never_overwritten_and_a_label_image_is(tmp_path):
    out = tmp_path / "out"
    listing = a_listing(tmp_path / "in.json")
    labels.paint_labels(listing, out, False)
    labels.paint_labels(a_listing(listing, lambda c: c["annotations"].clear()), out, False)
    assert not np.array(Image.open(out / "a.png")).any()
    Image.new("L", (8, 6), 77).save(out / "b.png")
    with pytest.raises(UserError, match="was not painted by this tool"):
        labels.paint_labels(a_listing(tmp_path / "in.json", names=("b.jpg",)), out, False)
    assert Image.open(out / "b.png").getpixel((0, 0)) == 77


def test_two_images_of_one_stem_are_told(tmp_path):
    with pytest.raises(UserError, match=r"a.jpg and a.png, whose labels would both be"):
        labels.paint_labels(a_listing(tmp_path / "in.json", names=("a.jpg", "a.png")), tmp_path / "out", False)


def of_image(**values):
    return lambda content: content["images"][0].update(values)


def of_annotation(**values):
    return lambda content: content["annotations"][0].update(values)


def without(kind, key):
    return lambda content: content[kind][0].pop(key)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("images", "width"), "says that image 1 is None x 6 pixels"),
        (of_image(width=-1), "says that image 1 is -1 x 6 pixels"),
        (of_image(width=True), "says that image 1 is True x 6 pixels"),
        (of_image(height=6.5), "says that image 1 is 8 x 6.5 pixels"),
        (of_image(width=10**6, height=10**6), "at most 178 million"),
        (of_image(width=10**400), "says that image 1 is a int x 6"),
        (of_image(file_name=None), "is no text"),
        (without("annotations", "segmentation"), "annotation 1 has a mask that has no area"),
        (of_annotation(segmentation=[]), "annotation 1 has a mask that has no area"),
        (of_annotation(segmentation=[[]]), "fewer than three points"),
        (of_annotation(segmentation=[[1, 1, 5, 5]]), "fewer than three points"),
        (of_annotation(segmentation=[1, 1, 5, 5, 1, 5]), "not a list of polygons"),
        (of_annotation(segmentation=[[1, 1, 5, None, 1, 5]]), "no finite number"),
        (of_annotation(segmentation=[[0, 0, 1e9, 0, 0, 1e9]]), "reaches out of its image"),
        (of_annotation(segmentation="x"), "neither a list of polygons nor run lengths"),
        (of_annotation(segmentation={"size": [4, 4], "counts": [0, 16]}), "states the size [4, 4]"),
        (of_annotation(segmentation={"size": [6, 8], "counts": [0, 10]}), "run lengths of 10 pixels in all"),
        (of_annotation(segmentation={"size": [6, 8], "counts": [0, 58, -10]}), "run lengths of 48 pixels"),
        (of_annotation(segmentation={"size": [6, 8], "counts": "0P"}), "damaged or cut short"),
        (of_annotation(segmentation={"size": [6, 8], "counts": "ä"}), "damaged or cut short"),
        (of_annotation(segmentation={"size": [6, 8]}), "damaged or cut short"),
        (of_annotation(category_id=9), "has category_id=9"),
        (of_annotation(category_id=[1]), "has category_id=a list"),
        (without("annotations", "image_id"), "does not say its image"),
        (without("categories", "name"), "the name of category 1 is no text"),
        (lambda content: content["images"].append(content["images"][0]), "gives 1 ids of its images"),
        (lambda content: content["images"].append(7), "'images' is no list of objects"),
        (lambda content: content.pop("categories"), "lacks 'categories'"),
    ],
)
def test_what_cannot_be_painted_is_one_sentence_and_leaves_nothing(tmp_path, change, sentence):
    with pytest.raises(UserError) as caught:
        labels.paint_labels(a_listing(tmp_path / "in.json", change), tmp_path / "out", False)
    assert sentence in str(caught.value) and str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "7", "null", "[" * 100_000, '{"images": 1}', "\x00"], ids=lambda t: t[:20]
)
def test_what_is_no_coco_json_is_one_sentence(tmp_path, text):
    (tmp_path / "in.json").write_text(text)
    with pytest.raises(UserError, match="is not a COCO instances file"):
        labels.paint_labels(tmp_path / "in.json", tmp_path / "out", False)
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(UserError, match="does not exist|is no file"):
            labels.paint_labels(path, tmp_path / "out", False)


def test_masks_become_labels_small_objects_on_top(tmp_path, capsys):
    content = {
        "images": [{"id": 3, "file_name": "a.jpg", "width": 20, "height": 10}],
        "categories": [
            {"id": 4, "name": "cat", "supercategory": "animal"},
            {"id": 9, "name": "cup", "supercategory": "kitchen"},
        ],
        "annotations": [
            {"image_id": 3, "category_id": 9, "segmentation": [[2, 2, 4, 2, 4, 4, 2, 4], [1, 1, 5, 5]]},
            {"image_id": 3, "category_id": 4, "area": 100, "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]},
            {
                "image_id": 3,
                "category_id": 4,
                "area": 20,
                "iscrowd": 1,
                "segmentation": {"size": [10, 20], "counts": [180, 20]},
            },
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    prepare_data.main(["labels", str(tmp_path / "instances.json"), str(tmp_path / "out"), "--group"])
    told = capsys.readouterr().out
    assert "DATASETS.CLASSES=('background', 'animal', 'kitchen')" in told
    assert "note: 1 polygons of fewer than three points left out" in told
    painted = np.array(Image.open(tmp_path / "out" / "a.png"))
    assert painted[5, 5] == 1 and painted[3, 3] == 2 and painted[5, 15] == 0 and (painted[:, 18:] == 255).all()
