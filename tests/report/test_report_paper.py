"""The paper's tables in the report: ours stand below a row only if all that matters is that row's, else apart."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.report_samples import a_line, a_result, a_run
from helpers.repository import ROOT
from pretrain import config
from tools import report as tool
from transfer.evaluate import choose
from transfer.report.collect.search import search_folders
from transfer.report.render.document import Block, heading
from transfer.report.sections import sections
from transfer.report.write import write_report

CONFIGS = ROOT / "configs"
IMAGES = 1_281_167


def official(**changes: Any) -> dict[str, Any]:
    """Settings of a result of configs/linear/official.yaml, as evaluate.py writes them."""
    return choose("linear", CONFIGS / "linear" / "official.yaml", []).settings() | {"found": {}} | changes


def pretrained(folder: Path, name: str, seed: int = 0, *overrides: str) -> dict[str, Any]:
    """A run by a configuration of this repository, and what its export says of itself."""
    cfg = config.load(config.Config, CONFIGS / "pretrain" / name)
    given = [f"{section}.{key}={_spelled(value)}" for section, key, value in _differences(cfg)]
    run = a_run(
        folder, [a_line(10)], seed=seed, overrides=["optim.batch_size=1024", "method.balance=null", *given, *overrides]
    )
    epochs = cfg.optim.epochs
    return {
        "method": cfg.method.name,
        "step": 9,
        "epoch": float(epochs),
        "images_seen": IMAGES * epochs,
        "run": str(run),
    }


def _differences(cfg: config.Config) -> list[tuple[str, str, Any]]:
    mine, plain = asdict(cfg), asdict(config.Config())
    sections = ("views", "mixing", "model", "method", "optim")
    return [(s, k, v) for s in sections for k, v in mine[s].items() if v != plain[s].get(k)]


def _spelled(value: Any) -> str:
    return "null" if value is None else str(value)


def linear(path: Path, pretraining: dict[str, Any], top1: float = 70.0, seed: int = 0, **changes: Any) -> Path:
    values = {
        "task": "linear",
        "protocol": "linear on a frozen trunk, augmented images",
        "dataset": "imagenet",
        "arch": "resnet50",
        "metrics": {"top1": top1, "top5": 90.0},
        "counts": {"train": IMAGES, "val": 50_000, "classes": 1000},
        "settings": official(),
        "pretraining": pretraining,
    }
    return a_result(path, None, "pretrained", seed, **{**values, **changes})


def paper_blocks(folder: Path) -> list[Block]:
    """The blocks of the sections on the paper, each below its heading."""
    data = search_folders([folder])
    data.paper = True
    blocks: list[Block] = []
    for section in sections():
        if section.anchor in ("paper", "apart") and (built := list(section.build(data))):
            blocks += [heading(section.title, section.anchor), *built]
    return blocks


def tables(folder: Path) -> dict[str, Block]:
    """By anchor of the heading above each."""
    shown: dict[str, Block] = {}
    anchor = ""
    for block in paper_blocks(folder):
        anchor = block.anchor if block.kind == "Heading" else anchor
        if block.kind == "Table":
            shown[anchor] = block
    return shown


def ours(table: Block) -> list[list[str]]:
    return [row for row in table.texts if row[0].startswith("here: ")]


def reasons(folder: Path) -> str:
    blocks = paper_blocks(folder)
    assert not [row for block in blocks if block.kind == "Table" for row in ours(block)]
    return tables(folder)["apart"].texts[0][-1]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("table2/a_moco.yaml", {"table-2": "a MoCo"}),
        (
            "unigrad_r50_100ep.yaml",
            {
                "table-2": "e asymm",
                "table-3": "asymmetric, 2(e)",
                "table-4": "UniGrad",
                "table-9": "depth 3",
                "table-10": "width 2048",
            },
        ),
        ("table2/i_vicreg.yaml", {"table-2": "i VICReg*"}),
        ("table3/j_vicreg_l2_stop_stop.yaml", {"table-3": "decorrelation, 2(j): positive stop"}),
        ("unigrad_cutmix_multicrop_r50_100ep.yaml", {"table-4": "UniGrad+CutMix+multi-crop"}),
        ("unigrad_cutmix_r50_800ep.yaml", {"table-5": "UniGrad+CutMix"}),
        ("table9/depth_1.yaml", {"table-9": "depth 1"}),
        ("table10/width_8192.yaml", {"table-10": "width 8192"}),
    ],
)
def test_a_run_of_a_configuration_stands_below_the_row_that_it_names(tmp_path, name, places) -> None:
    linear(tmp_path / "linear.json", pretrained(tmp_path / "run", name))
    shown = tables(tmp_path)
    found = {anchor: row[0] for anchor, table in shown.items() for row in ours(table)}
    if name == "unigrad_r50_100ep.yaml":  # both targets are the momentum branch's: the row of Table 3 with 70.2
        assert "positive momentum, negative momentum" in found["table-3"]
    assert found.keys() == places.keys() and "apart" not in shown
    assert all(found[anchor].startswith(f"here: {row}") for anchor, row in places.items())


def test_every_number_of_ours_carries_its_tags_and_its_spread(tmp_path) -> None:
    for seed, top1 in enumerate((69.0, 71.0)):
        pretraining = pretrained(tmp_path / f"run{seed}", "table2/b_simclr.yaml", seed)
        changes = {"date": f"2025-01-0{seed + 1}T00:00:00+00:00", "hardware": "8 x V100", "commit": "0123456789abcdef"}
        linear(tmp_path / f"{seed}.json", pretraining, top1, seed, **changes)
    table = tables(tmp_path)["table-2"]
    (row,) = ours(table)
    assert row[1:] == [
        "100",
        "70.0 ± 1.4 (n=2)",
        "linear on a frozen trunk, augmented images",
        "imagenet",
        "2025-01-01 to 2025-01-02",
        "8 x V100",
        "0123456789ab",
    ]
    assert table.texts[1][0] == "b SimCLR*" and table.texts[2] == row  # right below its row


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"counts": {"train": 9469, "val": 3925, "classes": 10}}, "other data than ImageNet"),
        ({"arch": "resnet18"}, "a resnet18, not a resnet50"),
        ({"settings": official(probe="exact")}, "another protocol than the paper's (probe differ"),
        ({"settings": official(head=official()["head"] | {"epochs": 100})}, "another protocol"),
        ({"settings": official(image_size=64)}, "image_size"),
        ({"init": "random"}, "untrained"),
        ({"task": "knn"}, "no table of this kind"),
        ({"pretraining": {"method": "unigrad", "step": 5, "epoch": 100.0}}, "run folder"),
    ],
)
def test_another_protocol_network_or_data_set_never_enters_the_papers_tables(tmp_path, changes, reason) -> None:
    given = {"pretraining": pretrained(tmp_path / "run", "unigrad_r50_100ep.yaml")} | changes
    init = given.pop("init", "pretrained")
    path = linear(tmp_path / "linear.json", **given)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"init": init}))
    assert reason in reasons(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["method.balance=50"], "method.balance"),
        (["optim.batch_size=512"], "optim.batch_size"),
        (["views.min_scale=0.08"], "views.min_scale"),
        (["method.name=simsiam", "method.rho=null"], "simsiam, which is no row"),
    ],
)
def test_another_recipe_never_enters_the_papers_tables(tmp_path, overrides, reason) -> None:
    linear(tmp_path / "linear.json", pretrained(tmp_path / "run", "unigrad_r50_100ep.yaml", 0, *overrides))
    assert reason in reasons(tmp_path)


def test_pretraining_on_other_images_or_for_fewer_epochs_never_enters(tmp_path) -> None:
    pretraining = pretrained(tmp_path / "run", "unigrad_r50_100ep.yaml")
    path = linear(tmp_path / "linear.json", pretraining | {"images_seen": 9469 * 100})
    assert "not pretrained on ImageNet" in reasons(tmp_path)
    path.unlink()
    linear(path, pretraining | {"epoch": 99.0 - 50, "images_seen": IMAGES * 49})
    assert "49 epochs" in reasons(tmp_path)


@pytest.mark.parametrize(("share", "images"), [(1, 12_811), (10, 128_116)])
def test_few_labels_stand_in_the_half_of_their_list(tmp_path, share, images) -> None:
    settings = choose("semi", CONFIGS / "finetune" / f"twist_{share}percent.yaml", []).settings()
    changes = {
        "task": "semi",
        "protocol": f"fine-tuning on SimCLR's {share} % list ({share}percent.txt): 20 epochs",
        "counts": {"train": images, "val": 50_000, "classes": 1000},
        "settings": settings,
    }
    pretraining = pretrained(tmp_path / "run", "unigrad_cutmix_r50_800ep.yaml")
    linear(tmp_path / "semi.json", pretraining, **changes)
    shown = tables(tmp_path)
    assert [anchor for anchor, table in shown.items() if ours(table)] == [f"table-11-{share}"]
    other = choose("semi", CONFIGS / "finetune" / f"simclr_{share}percent.yaml", []).settings()
    linear(tmp_path / "semi.json", pretraining, **changes | {"settings": other})
    assert "another protocol" in reasons(tmp_path)


def test_csv_and_json_hold_every_number_once_a_place(tmp_path, capsys) -> None:
    linear(tmp_path / "runs" / "a.json", pretrained(tmp_path / "runs" / "run", "table9/depth_1.yaml"), 61.0)
    a_result(tmp_path / "runs" / "knn.json", 40.0, "pretrained")
    tool.main([str(tmp_path / "runs"), "--paper", "--out", str(tmp_path / "out")])
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    with (tmp_path / "out" / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mean"] for row in rows] == [str(record["mean"]) for record in written]
    mine = {(r["metric"], r["mean"]): r for r in written if r["origin"] == "measured"}
    assert mine["top1", 61.0]["table"].startswith("Table 9") and mine["top1", 61.0]["not_comparable"] == ""
    assert mine["top1", 40.0]["table"] == "" and mine["top1", 40.0]["not_comparable"]
    published = [record for record in written if record["origin"] == "published"]
    assert all(record["source"] for record in published)
    # 10 + 9 + 4 x 2 + 10 + 5 + 5 + 14 x 2, Table 8 (6 x 3 + 6 x 6) and MoCo's table (4 x 3)
    assert len(published) == 75 + 54 + 12


def test_the_papers_tables_can_be_had_without_a_run_and_never_unasked(tmp_path) -> None:
    markdown = write_report([], tmp_path / "paper", paper=True)[1].read_text(encoding="utf-8")
    assert all(f"### Table {number}" in markdown for number in (2, 3, 4, 5, 8, 9, 10, 11))
    assert "Trials here, not comparable\n" not in markdown
    a_result(tmp_path / "runs" / "knn.json", 40.0, "pretrained")
    assert "### Table 2" not in write_report([tmp_path / "runs"], tmp_path / "out")[1].read_text(encoding="utf-8")


def test_of_many_metrics_each_has_a_row_and_pictures_of_readings_are_shown(tmp_path) -> None:
    metrics = {f"class {number}, top1": float(number) for number in range(12)}
    (tmp_path / "runs").mkdir()
    Image.new("RGB", (60, 40), "navy").save(tmp_path / "runs" / "readings-tsne.png")
    images = {"images": ["readings-tsne.png", "readings-gone.png"]}
    a_result(
        tmp_path / "runs" / "readings.json", None, "pretrained", task="readings", metrics=metrics, artefacts=images
    )
    table = tables(tmp_path / "runs")["apart"]
    assert table.columns == ["Metric", "ResNet-18, UniGrad, 2 epochs"] and len(table.texts) == 12
    page, markdown = write_report([tmp_path / "runs"], tmp_path / "out", paper=True)
    assert page.read_text(encoding="utf-8").count("<img ") == 1
    assert "tsne: ResNet-18, UniGrad, 2 epochs, on toys" in markdown.read_text(encoding="utf-8")
    assert "readings-gone.png" in markdown.read_text(encoding="utf-8").partition("## Could not read")[2]


@pytest.mark.parametrize("many", [1, 12], ids=["wide", "tall"])
def test_two_networks_of_one_name_are_numbered_in_tables_of_either_form(many, tmp_path) -> None:
    for train in (90, 900):
        metrics = {f"class {number}": float(train) for number in range(many)}
        counts = {"train": train, "val": 30, "classes": 3}
        a_result(tmp_path / f"{train}.json", None, "pretrained", train, metrics=metrics, counts=counts)
    markdown = write_report([tmp_path], tmp_path / "out", paper=True)[1].read_text(encoding="utf-8")
    within = markdown.partition("## Measured here, not comparable")[2].partition("\n## ")[0]
    name = "ResNet-18, UniGrad, 2 epochs"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in within.splitlines() if line[:1] == "|"]
    names = [row[0] for row in rows[2:]] if many == 1 else rows[0][1:]
    assert names == [name, f"{name}, other settings or data 2"]
