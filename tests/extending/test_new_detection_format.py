"""docs/extending.md, a new format of detection data: one new file, and its data are trained on and measured."""

import json

import numpy as np
import pytest

pytest.importorskip("detectron2")

from PIL import Image

from helpers.recipes import carry_out, files_of, run_in

HEADING = "A new format of detection data"
CLASSES = ("bright", "dark")
WIDTH, HEIGHT = 96, 64
CONFIG = "configs/detection/c4/demo_r18_c4.yaml"
MEASURE = """
import json, sys
from pathlib import Path
from helpers.detection_oracle import Oracle
from transfer.detection.config import load
from transfer.detection.catalog import open_datasets
from transfer.detection.evaluation.measure import measure_split
config, scratch, *overrides = sys.argv[1:]
cfg = load.load_config(config, overrides)
cfg.MODEL.DEVICE = "cpu"
data = open_datasets(cfg, Path(scratch))
records = data.readings[data.test].records
measured = measure_split(cfg, Oracle(records, data.classes), data.test, Path(scratch))
boxes = {one["image_id"]: [[box["category_id"], *box["bbox"]] for box in one["annotations"]] for one in records}
print(json.dumps([boxes, measured.metrics, data.counts()]))
"""


def write_set(root):
    """Two splits of four images with one to three boxes each; returns the boxes of val in pixels, by image."""
    generator, expected = np.random.default_rng(0), {}
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(4):
            pixels = generator.integers(90, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            lines, boxes = [], []
            for _ in range(1 + index % 3):
                category = int(generator.integers(2))
                left, top = int(generator.integers(0, WIDTH - 30)), int(generator.integers(0, HEIGHT - 24))
                width, height = int(generator.integers(12, 30)), int(generator.integers(12, 24))
                pixels[top : top + height, left : left + width] = (240, 10)[category]
                centre = ((left + width / 2) / WIDTH, (top + height / 2) / HEIGHT)
                lines.append(" ".join(map(str, (category, *centre, width / WIDTH, height / HEIGHT))))
                boxes.append([category, left, top, left + width, top + height])
            Image.fromarray(pixels).save(root / "images" / split / f"{split}{index}.png")
            (root / "labels" / split / f"{split}{index}.txt").write_text("\n".join(lines) + "\n")
            if split == "val":
                expected[f"val{index}"] = boxes
    return expected


def overrides(root):
    return [
        "DATASETS.LAYOUT=yolo",
        f"DATASETS.ROOT={root}",
        f"DATASETS.CLASSES={CLASSES}",
        "MODEL.ROI_HEADS.NUM_CLASSES=0",
        "MODEL.WEIGHTS=random",
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE=4",
        "MODEL.RPN.POST_NMS_TOPK_TEST=4",
        "INPUT.MIN_SIZE_TRAIN=(64,)",
        "INPUT.MIN_SIZE_TEST=64",
        "TEST.PRECISE_BN.NUM_ITER=1",
        "SOLVER.MAX_ITER=2",
    ]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return carry_out(HEADING, tmp_path_factory.mktemp("recipe"))


def test_the_recipe_is_one_new_file():
    assert list(files_of(HEADING)) == ["transfer/detection/data/formats/yolo.py"]


def test_boxes_are_those_that_were_written_and_a_perfect_detector_has_ap_100(copy, tmp_path):
    expected = write_set(tmp_path / "set")
    (copy / "measure.py").write_text(MEASURE)
    done = run_in(copy, "measure.py", CONFIG, str(tmp_path / "scratch"), *overrides(tmp_path / "set"))
    assert done.returncode == 0, done.stderr
    boxes, metrics, counts = json.loads(done.stdout.splitlines()[-1])
    assert boxes.keys() == expected.keys()
    for name, written in expected.items():
        np.testing.assert_allclose(boxes[name], written, atol=1e-6)
    assert metrics == pytest.approx({"bbox_AP": 100, "bbox_AP50": 100, "bbox_AP75": 100})
    assert counts["val_boxes"] == sum(map(len, expected.values())) and counts["classes"] == 2


def test_the_tool_trains_on_the_format_measures_and_draws(copy, tmp_path):
    write_set(tmp_path / "set")
    out = tmp_path / "run"
    tool = ["tools/train_detection.py", "--config", CONFIG, "--out", str(out), "--visualise", "1"]
    done = run_in(copy, *tool, *overrides(tmp_path / "set"))
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert set(result["metrics"]) == {"bbox_AP", "bbox_AP50", "bbox_AP75"} and "COCO AP" in result["protocol"]
    assert result["settings"]["classes"] == list(CLASSES) and (out / result["artefacts"]["images"][0]).is_file()


def test_help_lists_the_format_and_bad_lines_are_told_in_one_sentence(copy, tmp_path):
    assert "yolo " in run_in(copy, "tools/train_detection.py", "--help").stdout
    write_set(tmp_path / "set")
    (tmp_path / "set" / "labels" / "train" / "train0.txt").write_text("0 0.5 0.5 0.1\n")
    tool = ["tools/train_detection.py", "--config", CONFIG, "--out", str(tmp_path / "run")]
    done = run_in(copy, *tool, *overrides(tmp_path / "set"))
    assert done.returncode == 2 and "train0.txt:1 is not CLASS X Y WIDTH HEIGHT" in done.stderr
    assert "Traceback" not in done.stderr
