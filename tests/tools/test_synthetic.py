"""The generated set: readable by the field's own tools, true to what was drawn, and redone after an interruption."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw

from helpers import tool_process
from helpers.repository import CONFIGS, ROOT
from pretrain import config
from pretrain.data.sources import open_source, read_image
from pretrain.models import residual
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import prepare_data
from tools.datasets.drawing import objects
from transfer.classifiers import knn
from transfer.classifiers.accuracy import top
from transfer.classifiers.linear import logistic_regression

SMALL = ["--classes", "8", "--train", "24", "--val", "16", "--scenes", "12", "--val-scenes", "6"]


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "set"
    prepare_data.main(["synthetic", str(out), *SMALL])
    return out


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_class_folders_open_as_an_image_source(small_set: Path) -> None:
    train, val = (open_source(small_set / "classes" / split) for split in ("train", "val"))
    assert train.classes == val.classes and len(train.classes) == 8
    assert np.bincount(train.labels).tolist() == [3] * 8 and np.bincount(val.labels).tolist() == [2] * 8
    assert read_image(train, 0).size == (32, 32)
    assert train.paths[0].read_bytes() != val.paths[0].read_bytes()


def test_every_file_says_it_is_synthetic(small_set: Path) -> None:
    assert (small_set / "README").read_text().startswith("SYNTHETIC")
    for path in small_set.rglob("*"):
        if path.suffix in (".jpg", ".xml") or path.name.startswith("instances_"):
            assert b"SYNTHETIC" in path.read_bytes(), path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under NumPy 2
def test_coco_masks_agree_with_areas_boxes_and_voc(small_set: Path) -> None:
    coco_api = pytest.importorskip("pycocotools.coco")
    for split, scenes in (("train", 12), ("val", 6)):
        coco = coco_api.COCO(str(small_set / f"coco/annotations/instances_{split}2017.json"))
        assert len(coco.imgs) == scenes
        for image_id, image in coco.imgs.items():
            annotations = coco.loadAnns(coco.getAnnIds(image_id))
            assert annotations
            stem = Path(image["file_name"]).stem
            boxes = ElementTree.parse(small_set / f"voc/Annotations/{stem}.xml").findall("object")
            jpegs = (small_set / f"coco/{split}2017/{stem}.jpg", small_set / f"voc/JPEGImages/{stem}.jpg")
            assert jpegs[0].read_bytes() == jpegs[1].read_bytes()
            for annotation, thing in zip(annotations, boxes, strict=True):
                mask = coco.annToMask(annotation)
                assert mask.shape == (128, 128)
                perimeter = 2 * sum(annotation["bbox"][2:])
                assert abs(int(mask.sum()) - annotation["area"]) < perimeter / 2 + 4
                rows, columns = np.nonzero(mask)
                left, top, width, height = annotation["bbox"]
                drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert np.abs(drawn - [left, top, left + width, top + height]).max() < 2.5  # a star's tips are thin
                corners = [int(thing.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")]
                assert np.abs(np.array(corners) - [1, 1, 0, 0] - [left, top, left + width, top + height]).max() <= 1
                assert thing.findtext("name") == coco.cats[annotation["category_id"]]["name"]


@pytest.mark.parametrize("name", objects.OUTLINES)
def test_polygon_is_where_the_object_was_drawn(name: str) -> None:
    """Painted on what is below every colour, the pixels that changed are the polygon's, in extent and area."""
    canvas = np.zeros((64, 64, 3)) - 5
    random = np.random.default_rng(len(name))
    thing = objects._place(random, 0, name, np.array([30.3, 33.6]), 22.0)
    objects._paint(random, canvas, thing)
    inside = canvas.mean(axis=2) > -2.5
    rows, columns = np.nonzero(inside)
    left, top, width, height = thing.box()
    assert abs(inside.sum() - thing.area()) < 0.06 * thing.area()
    drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.abs(drawn - [left, top, left + width, top + height]).max() < 2.5  # a star's tips are thin


def test_all_outlines_cover_the_same_area_and_none_crosses_itself() -> None:
    """Shoelace area; and every pixel count of a filled outline agrees with it, which it would not if edges crossed."""
    for name, outline in objects.OUTLINES.items():
        assert objects.area_of(outline) == pytest.approx(objects.AREA, rel=1e-9), name
        picture = Image.new("L", (1600, 1600))  # PIL fills the pixels on the edge too: few of so large a picture
        ImageDraw.Draw(picture).polygon([tuple(corner) for corner in 800 + 400 * outline], fill=1)
        assert np.asarray(picture).sum() / 400**2 == pytest.approx(objects.AREA, rel=0.02), name


def test_same_seed_same_bytes_other_seed_other_pictures(small_set: Path, tmp_path: Path) -> None:
    prepare_data.main(["synthetic", str(tmp_path / "again"), *SMALL])
    assert _files(tmp_path / "again") == _files(small_set)
    prepare_data.main(["synthetic", str(tmp_path / "other"), *SMALL, "--seed", "1"])
    first, other = _files(small_set), _files(tmp_path / "other")
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.endswith(".jpg"))


def _pictures(split: int, count: int) -> np.ndarray:
    """(count, 32, 32, 3) uint8, the eight classes in turn."""
    names = objects.class_names(8)
    drawn = [objects.draw_object(np.random.default_rng([split, i]), i % 8, names, 32) for i in range(count)]
    return np.stack([np.asarray(picture) for picture in drawn])


def _colour_histograms(pictures: np.ndarray) -> np.ndarray:
    """Shares of the 64 colours of four levels a channel."""
    levels = (pictures // 64).astype(int) @ [16, 4, 1]
    return np.stack([np.bincount(one.ravel(), minlength=64) for one in levels]) / 32**2


def _texture_histograms(pictures: np.ndarray) -> np.ndarray:
    """Local binary patterns (Ojala et al., 2002): shares of the 256 ways in which a pixel's 8 neighbours exceed it."""
    grey = pictures.mean(axis=3)
    around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    codes = sum((grey[:, y : y + 30, x : x + 30] >= grey[:, 1:-1, 1:-1]) << k for k, (y, x) in enumerate(around))
    return np.stack([np.bincount(one.ravel(), minlength=256) for one in codes]) / 30**2


@pytest.mark.parametrize(("statistics", "most"), [(_colour_histograms, 20.0), (_texture_histograms, 55.0)])
def test_raw_statistics_do_not_give_the_class_away(statistics: Callable[[np.ndarray], np.ndarray], most: float) -> None:
    """Neither the exact linear probe nor k-NN reads the class (chance 12.5 %, a deviation of 1.5) from colours.

    Local binary patterns see the edges of an outline too, and tell some of it (43 and 47 % measured).
    """
    train, val = (torch.from_numpy(statistics(_pictures(split, count))) for split, count in ((0, 960), (1, 480)))
    known, wanted = torch.arange(960) % 8, torch.arange(480) % 8
    probe = logistic_regression.fit(train, known, 8, 1e-2)
    near = knn.votes(train.float(), known, val.float(), 8, 20, 0.07)
    for scores in (probe.scores(val), near):
        assert top(scores, wanted, 1) < most


def test_identical_set_is_left_alone_and_other_content_refused(
    small_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_set.rglob("*")}
    prepare_data.main(["synthetic", str(small_set), *SMALL])
    assert "already there" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in small_set.rglob("*")}
    with pytest.raises(UserError, match="other arguments"):
        prepare_data.main(["synthetic", str(small_set), *SMALL, "--seed", "5"])
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="other files"):
        prepare_data.main(["synthetic", str(tmp_path), *SMALL])
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_interrupted_run_leaves_no_set_and_is_redone(small_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    command = [sys.executable, "tools/prepare_data.py", "synthetic", str(out), "--train", "100000"]
    process = subprocess.Popen(command, cwd=ROOT)
    while not list(tmp_path.glob(".set.part/classes/train/*/*.jpg")):
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not out.exists()
    prepare_data.main(["synthetic", str(out), *SMALL])
    assert _files(out) == _files(small_set)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--classes", "13"], "above 12"), (["--val", "3"], "one picture a class"), (["--size", "8"], "below 32")],
)
def test_bad_numbers_end_in_one_sentence(tmp_path: Path, arguments: list[str], told: str) -> None:
    command = [sys.executable, "tools/prepare_data.py", "synthetic", str(tmp_path / "x"), *arguments]
    done = tool_process.run(command, cwd=ROOT)
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_annotations_are_strict_json(small_set: Path) -> None:
    instances = json.loads((small_set / "coco/annotations/instances_train2017.json").read_text())
    assert {category["id"] for category in instances["categories"]} == set(range(1, 9))
    assert {annotation["category_id"] for annotation in instances["annotations"]} <= set(range(1, 9))


def test_the_demo_agrees_with_its_pictures_and_has_a_fair_baseline() -> None:
    """The detector's classes are the set's; and the network that pretraining starts from has no silent block."""
    detector = yaml.safe_load((CONFIGS / "detection/c4/demo_r18_c4.yaml").read_text())
    assert list(ast.literal_eval(detector["DATASETS"]["CLASSES"])) == objects.class_names(8)
    assert detector["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] == 8
    model = config.load(config.Config, CONFIGS / "pretrain/demo.yaml").model
    trunk, _ = build_trunk(model.arch, model.zero_init_residual)
    assert residual.silent_blocks(trunk.state_dict()) == 0
