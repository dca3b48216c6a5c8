"""The report's detection parts: our rows stand beside published ones only under the same protocol, and by class."""

import pytest

from helpers.report_samples import a_result
from helpers.repository import ROOT
from transfer.detection.config.load import load_config, protocol_name
from transfer.report.collect.search import search_folders
from transfer.report.published.tables import published_tables
from transfer.report.sections.detections import classes
from transfer.report.sections.paper_tables import detection
from transfer.report.write import write_report

VOC_FPN, COCO_FPN, VOC_C4 = published_tables("detection")
CONFIGS = ROOT / "configs" / "detection"
METRICS = {"bbox_AP": 57.0, "bbox_AP50": 83.0, "bbox_AP75": 64.0}


def detected(path, published, seed=0, init="pretrained", shift=0.0, **changes):
    setting, held = published.setting, published.setting.counts
    settings = {
        "protocol": setting.protocol,
        "iterations": setting.images_seen // 16,
        "images_per_step": 16,
    }
    settings |= {"base_lr": 0.02}
    settings |= changes.pop("settings", {})
    values = {
        "task": "detection",
        "protocol": f"{setting.protocol}: ResNet-50, 24000 iterations of 16 images, lr 0.02, {setting.protocol_ends}",
        "dataset": setting.dataset,
        "arch": "resnet50",
        "metrics": {name: value + shift for name, value in METRICS.items()},
        "settings": settings,
        "counts": {"train": held["train"], "val": held["val"] - 3, "classes": 20, "skipped": 3},
    }
    return a_result(path, None, init, seed, **{**values, **changes})


def shown(folder):
    return [block for block in detection(search_folders([folder])) if block.kind == "Table"]


def test_our_rows_stand_below_the_published_ones_of_their_protocol(tmp_path):
    for seed, shift in enumerate((-1.0, 1.0)):
        detected(tmp_path / f"{seed}.json", VOC_FPN, seed, shift=shift)
    (table,) = shown(tmp_path)
    rows = table.texts
    assert rows[: len(VOC_FPN.rows)][-1][:4] == ["UniGrad", "57.8", "84.0", "64.9"]  # of the paper's Table 8
    ours = ["here: UniGrad, 2 epochs", "57.0 ± 1.4 (n=2)", "83.0 ± 1.4 (n=2)", "64.0 ± 1.4 (n=2)"]
    assert rows[-1][:4] == ours
    assert table.columns[4:8] == ["Epochs", "Protocol", "Data", "Date"] and rows[-1][7] == "2025-01-02"


def test_the_two_families_never_share_a_table(tmp_path):
    detected(tmp_path / "fpn.json", VOC_FPN)
    detected(tmp_path / "c4.json", VOC_C4)
    fpn, c4 = shown(tmp_path)
    assert fpn.caption.startswith("Faster R-CNN FPN") and c4.caption.startswith("Faster R-CNN C4")
    assert (
        sum(row[0].startswith("here") for row in fpn.texts) == sum(row[0].startswith("here") for row in c4.texts) == 1
    )


def test_another_schedule_trunk_or_data_set_is_counted_and_not_shown(tmp_path):
    detected(tmp_path / "short.json", VOC_FPN, settings={"iterations": 400})
    detected(tmp_path / "small.json", VOC_FPN, arch="resnet18")
    detected(tmp_path / "own.json", VOC_FPN, 1, counts={"train": 205, "val": 87})  # own data under the benchmark's name
    detected(tmp_path / "lr.json", VOC_FPN, 2, settings={"base_lr": 0.04})
    small = f"{VOC_FPN.setting.protocol}: ResNet-50, 24000 iterations, lr 0.02, short side 320-320 (test 320), VOC07 AP"
    detected(tmp_path / "sides.json", VOC_FPN, 3, protocol=small)
    detected(tmp_path / "bccd.json", VOC_FPN, dataset="BCCD")
    blocks = list(detection(search_folders([tmp_path])))
    (table,) = [block for block in blocks if block.kind == "Table"]
    assert not any(row[0].startswith("here") for row in table.texts)
    (note,) = [block.text for block in blocks if block.kind == "Text"]
    assert (
        "5 result(s)" in note
        and "test 320" in note
        and "6,400 images seen" in note
        and "resnet18" in note
        and "of 205" in note
    )


def test_a_schedule_rescaled_to_fewer_gpus_counts_as_the_same(tmp_path):
    rescaled = {"iterations": 192_000, "images_per_step": 2, "base_lr": 0.0025}
    detected(tmp_path / "one-gpu.json", VOC_FPN, settings=rescaled)
    (table,) = shown(tmp_path)
    assert table.texts[-1][0].startswith("here")


@pytest.mark.parametrize(
    ("published", "config"),
    [(VOC_FPN, "fpn/voc_r50_fpn_24k"), (COCO_FPN, "fpn/coco_mask_rcnn_r50_fpn_1x"), (VOC_C4, "c4/voc_r50_c4_24k")],
)
def test_a_published_table_wants_what_its_configuration_says(published, config):
    cfg = load_config(CONFIGS / f"{config}.yaml", ["MODEL.WEIGHTS=random"])
    steps = published.setting.images_seen // cfg.SOLVER.IMS_PER_BATCH
    schedule = f"ResNet-50, {steps} iterations of {cfg.SOLVER.IMS_PER_BATCH} images, lr {published.setting.lr:g}"
    assert protocol_name(cfg) == f"{published.setting.protocol}: {schedule}, {published.setting.protocol_ends}"


def test_a_report_without_such_results_has_no_such_section(tmp_path):
    detected(tmp_path / "bccd.json", VOC_FPN, dataset="BCCD")
    assert not list(detection(search_folders([tmp_path])))


def test_published_numbers_are_the_papers():
    """UniGrad's Table 8, last row; MoCo's README: spelt out here independently."""
    values = {
        (table.anchor, row.name): tuple(row.values) for table in (VOC_FPN, COCO_FPN, VOC_C4) for row in table.rows
    }
    assert values[VOC_FPN.anchor, "UniGrad"] == (57.8, 84.0, 64.9)
    assert values[COCO_FPN.anchor, "UniGrad"] == (42.0, 62.6, 45.7, 37.9, 59.7, 40.7)
    assert values[VOC_C4.anchor, "MoCo v2, 800 epochs"] == (57.4, 82.5, 64.0)


def test_curves_and_classes_of_both_initialisations_are_shown(tmp_path):
    recall = [0.0, 50.0, 100.0]
    for init, ap in (("random", 10.0), ("pretrained", 30.0)):
        artefacts = {
            "images": [],
            "by_class": {"bbox": {"cat": ap, "dog": 2 * ap}},
            "curves": {"bbox": {"recall": recall, "0.50": [100.0, ap, 0.0], "0.75": []}},
        }
        detected(tmp_path / f"{init}.json", VOC_FPN, init=init, artefacts=artefacts)
    blocks = list(classes(search_folders([tmp_path])))
    (table,) = [block for block in blocks if block.kind == "Table"]
    assert table.texts == [["cat", "10.0", "30.0", "+20.0"], ["dog", "20.0", "60.0", "+40.0"]]
    (charts,) = [block for block in blocks if block.kind == "Charts"]
    (chart,) = charts.charts
    assert [line.y for line in chart.lines] == [(100.0, 10.0, 0.0), (100.0, 30.0, 0.0)]
    page, markdown = write_report([tmp_path], tmp_path / "report")
    assert "Precision of boxes at IoU 0.50" in page.read_text() and "Table 8" in markdown.read_text()
    assert "## Classes and curves" in markdown.read_text()


def test_classes_of_two_recipes_are_never_averaged(tmp_path):
    for method, ap in (("unigrad", 10.0), ("simclr", 50.0)):
        pretraining = {"method": method, "step": 20, "epoch": 2.0}
        artefacts = {"images": [], "by_class": {"bbox": {"cat": ap, "dog": None}}}
        given = {"artefacts": artefacts, "pretraining": pretraining, "checkpoint_sha256": method}
        detected(tmp_path / f"{method}.json", VOC_FPN, **given)
    blocks = list(classes(search_folders([tmp_path])))
    assert [block.texts[0][2] for block in blocks if block.kind == "Table"] == ["50.0", "10.0"]
    titles = [block.text for block in blocks if block.kind == "Heading"]
    assert "SimCLR" in titles[0] and "UniGrad" in titles[1]


@pytest.mark.parametrize("paper", [[], ["--paper"]], ids=["alone", "paper"])
def test_the_tool_prints_the_table(paper, tmp_path, capsys):
    from tools import report

    detected(tmp_path / "runs" / "fpn.json", VOC_FPN)
    report.main([str(tmp_path / "runs"), *paper, "--out", str(tmp_path / "report")])
    told = capsys.readouterr().out
    assert "| UniGrad | 57.8 | 84.0 | 64.9 | —" in told and "here: UniGrad, 2 epochs" in told
    assert "Classes and curves" not in told
