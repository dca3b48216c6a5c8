"""tools/evaluate.py on public data sets: a result each, divided and judged as published, with its images' outcomes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.public_layouts import LAYOUTS
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from transfer import per_image, results
from transfer.datasets.benchmarks import benchmarks, find_benchmark
from transfer.evaluators.transfer import SUITE

QUICK = ["image_size=32", "workers=0", "batch_size=8", "device=cpu", "threads=1", "penalties=5"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A ROOT with small copies of DTD, VOC2007 and own folders, and an untrained ResNet-18."""
    for name in ("dtd", "voc2007", "folders"):
        LAYOUTS[name](tmp_path, monkeypatch)
        known = find_benchmark(name)
        counts = {split: len(known.read(tmp_path, split).names) for split in known.counts}
        classes = 2 if name == "dtd" else known.classes
        monkeypatch.setitem(benchmarks(), name, replace(known, counts=counts, classes=classes))
    torch.manual_seed(0)
    trunk, _ = build_trunk("resnet18", zero_init_residual=False)
    export_trunk(tmp_path / "trunk.pth", trunk, "resnet18", {"step": 0, "seed": 0})
    return tmp_path


def command(place, task, sets, *more, out="{task}-{set}.json"):
    where = ["--checkpoint", str(place / "trunk.pth"), "--data", str(place), "--out", str(place / "out" / out)]
    return [task, *where, *QUICK, f"sets=[{sets}]", *more]


def test_each_set_has_a_result_with_its_metric_first(place):
    damaged = next((place / "dtd/dtd/images/one").glob("*.jpg"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    evaluate.main(command(place, "transfer", "dtd,voc2007,folders"))
    found = {name: results.load(place / f"out/transfer-{name}.json") for name in ("dtd", "voc2007", "folders")}
    assert [one.dataset for one in found.values()] == ["DTD", "VOC2007", place.name]
    assert [next(iter(one.metrics)) for one in found.values()] == ["top1", "mAP 11-point", "top1"]
    assert found["dtd"].counts == {"train": 7, "val": 4, "skipped": 1, "classes": 2} or (
        found["dtd"].counts == {"train": 8, "val": 3, "skipped": 1, "classes": 2}
    )
    assert found["voc2007"].counts == {"train": 4, "val": 2, "skipped": 0, "classes": 20}
    for name, one in found.items():
        assert "chosen on the published validation split" in one.protocol
        assert one.settings["found"]["reference"] == "none"  # 32 pixels, 5 penalties
        kept = per_image.load(place / "out" / one.artefacts["per_image"])
        metric = next(iter(one.metrics))
        assert len(kept) == one.counts["val"]
        assert kept.values(metric, np.ones((1, len(kept))))[0] == pytest.approx(one.metrics[metric]), name


def test_under_the_published_options_a_result_names_its_reference(place):
    published = ["image_size=224", "resize=224", "interpolation=bicubic", "penalties=45"]
    evaluate.main(command(place, "transfer", "dtd", *published))
    dtd = results.load(place / "out/transfer-dtd.json")
    assert dtd.settings["found"]["protocol"] == "linear transfer, SimCLR and BYOL"
    assert dtd.settings["found"]["reference"] == "SimCLR, Table 8, and BYOL, Table 3"
    assert "Resize(224, bicubic) + CenterCrop(224)" in dtd.protocol
    options = dict(SUITE.options)
    assert SUITE.told(options, "own", published_set=False) == {"protocol": "own on own data", "reference": "none"}
    other = SUITE.told(options | {"scaled": True}, "own")
    assert other == {"protocol": "own with other scaled", "reference": "none"}


def test_fine_tuning_has_the_same_sets_and_metrics(place):
    more = ["steps=2", "learning_rates=[0.01]", "decays=[0]", "min_scale=0.5"]
    evaluate.main(command(place, "transfer_finetune", "dtd,voc2007", *more))
    dtd, voc = (results.load(place / f"out/transfer_finetune-{name}.json") for name in ("dtd", "voc2007"))
    assert next(iter(dtd.metrics)) == "top1" and next(iter(voc.metrics)) == "mAP 11-point"
    assert dtd.counts == {"train": 8, "val": 4, "skipped": 0, "classes": 2}
    assert dtd.settings["found"]["reference"] == "none" and "fine-tuned transfer" in dtd.protocol
    assert len(per_image.load(place / "out" / voc.artefacts["per_image"])) == 2


def test_other_evaluators_judge_the_test_split_too(place):
    evaluate.main(command(place, "knn,linear", "dtd"))
    for task in ("knn", "linear"):
        one = results.load(place / f"out/{task}-dtd.json")
        assert one.counts["val"] == 4 and one.counts["train"] == 8
        kept = per_image.load(place / "out" / one.artefacts["per_image"])
        for metric, value in one.metrics.items():
            assert kept.values(metric, np.ones((1, 4)))[0] == pytest.approx(value)


@pytest.mark.parametrize(
    ("task", "sets", "told", "out"),
    [
        ("knn", "voc2007", "knn cannot judge VOC2007, which has several classes an image: leave voc2007 out", "x.json"),
        ("svm", "dtd", "svm cannot judge DTD, which has one class an image", "x.json"),
        ("knn", "dtd,folders", "is one file for 2 data sets: put {set} in its name", "x.json"),
        ("knn", "food101", "Food-101 below .* cannot be read: .*food-101 does not exist", "x.json"),
    ],
)
def test_bad_requests_end_in_one_sentence(place, task, sets, told, out):
    with pytest.raises(UserError, match=told):
        evaluate.main(command(place, task, sets, out=out))
    assert not list(place.glob("out/*.json"))
