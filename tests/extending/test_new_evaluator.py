"""docs/extending.md, a new evaluator: one new file, and command line, pipeline, results and report know it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from helpers.recipes import carry_out, files_of, run_in
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk

HEADING = "A new evaluator"
CLASSES, TRAIN, VAL, WIDTH = 3, 12, 20, 512
OPTIONS = "image_size=16 workers=0 device=cpu threads=1"


def write_images(root):
    """Noise of three hues that differ little, so that some of val is mistaken."""
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for label in range(CLASSES):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            mean = np.full(3, 120.0)
            mean[label] += 8
            for index in range(count):
                pixels = generator.normal(mean + generator.normal(0, 8, 3), 50, (20, 20, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index:02}.png")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A copy with the recipe carried out, its data, and an untrained trunk."""
    root = tmp_path_factory.mktemp("place")
    write_images(root / "data")
    torch.manual_seed(0)
    export_trunk(root / "trunk.pth", build_trunk("resnet18")[0], "resnet18", {"step": 0, "seed": 0})
    return carry_out(HEADING, root)


@pytest.fixture(scope="module")
def result(place):
    """Of a stage of a pipeline that names the evaluator."""
    root = place.parent
    stage = {
        "name": "means",
        "tool": "evaluate",
        "args": [
            f"class_mean --checkpoint {root}/trunk.pth --data {root}/data --out {root}/out/{{task}}.json",
            f"{OPTIONS} cache={root}/cache centred=true",
        ],
    }
    (root / "pipeline.yaml").write_text(yaml.safe_dump({"variables": {"out": f"{root}/out"}, "stages": [stage]}))
    done = run_in(place, "tools/launch.py", "pipeline", "--config", f"{root}/pipeline.yaml", "--cluster", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((root / "out/class_mean.json").read_text())


def accuracy_of_cached_rows(cache):
    """Top-1 in percent by numpy alone, from the rows that the cache holds: 36 of train, 60 of val."""
    rows = {len(values): values for path in cache.glob("*/rows.f32") for values in [np.fromfile(path, np.float32)]}
    train, val = (rows[CLASSES * each * WIDTH].reshape(-1, WIDTH).astype(np.float64) for each in (TRAIN, VAL))
    train, val = train - train.mean(0), val - train.mean(0)
    unit = train / np.linalg.norm(train, axis=1, keepdims=True)
    means = unit.reshape(CLASSES, TRAIN, WIDTH).mean(1)
    nearest = (val @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(1)
    return 100 * np.mean(nearest == np.repeat(np.arange(CLASSES), VAL))


def test_the_recipe_is_one_new_file():
    assert list(files_of(HEADING)) == ["transfer/evaluators/class_mean.py"]


def test_help_lists_the_evaluator_and_its_options_without_torch(place):
    code = "import sys; sys.modules['torch'] = None; from tools import evaluate; evaluate.main(['--help'])"
    done = run_in(place, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "class_mean" in done.stdout and "centred=false" in done.stdout


def test_a_pipeline_runs_it_and_its_accuracy_is_that_of_numpy(place, result):
    expected = accuracy_of_cached_rows(place.parent / "cache")
    assert 100 / CLASSES < expected < 100, "the data are either too hard or too easy to tell methods apart"
    assert result["metrics"] == {"top1": pytest.approx(expected)}
    assert result["settings"]["centred"] is True and result["counts"]["train"] == CLASSES * TRAIN
    assert result["protocol"].startswith("nearest class mean of centred rows; val under Resize(18)")


def test_the_report_shows_it_by_its_display_name(place, result):
    done = run_in(place, "tools/report.py", f"{place.parent}/out", "--out", f"{place.parent}/report")
    assert done.returncode == 0, done.stdout + done.stderr
    markdown = next((place.parent / "report").glob("*.md")).read_text()
    assert "Nearest class mean" in markdown and f"{result['metrics']['top1']:.2f}" in markdown


def test_wrong_values_of_its_options_are_told(place):
    words = f"class_mean --checkpoint trunk.pth --data data --out r.json {OPTIONS} centerd=true".split()
    done = run_in(place, "tools/evaluate.py", *words)
    assert done.returncode == 2 and "did you mean 'centred'" in done.stderr
