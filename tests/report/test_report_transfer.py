"""The report's transfer section: what shares a table, published rows, ranks, and what cannot be told apart."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.report_samples import a_result, cells, markdown_of
from helpers.repository import CONFIGS
from transfer import per_image
from transfer.classifiers import average_precision
from transfer.datasets.benchmarks import benchmarks
from transfer.evaluators import transfer, transfer_finetune
from transfer.evaluators.transfer import SUITE
from transfer.report.published.tables import published_tables
from transfer.report.write import write_report

SETS = {"DTD": "top1", "Food-101": "top1", "Oxford Pets": "mean per class"}
NAMED = {"protocol": SUITE.name, "reference": SUITE.reference}
OTHER = {"protocol": "linear transfer with other image_size", "reference": "none"}


def a_trunk(folder: Path, name: str, values, named=NAMED, init="pretrained", seed=0, hits=None):
    """A result of one trunk on each data set."""
    folder.mkdir(exist_ok=True, parents=True)
    for (dataset, metric), value in zip(SETS.items(), values, strict=True):
        if value is None:
            continue
        path = folder / f"{name}-{dataset}-{seed}.json"
        more = {}
        if hits is not None:
            kept = per_image.of_labels(
                map(str, range(len(hits))), {"top1": np.asarray(hits, bool)}, np.zeros(len(hits), int)
            )
            per_image.save(path.with_suffix(".npz"), kept)
            more = {"artefacts": {"images": [], "per_image": path.with_suffix(".npz").name}}
        of = {"method": name, "step": 0 if init == "random" else 20, "epoch": 100.0}
        protocol = (
            f"{named['protocol']} (published reference: {named['reference']}): 45 penalties; val under Resize(224)"
        )
        settings = {"found": named, "image_size": 224 if named is NAMED else 64}
        known = {"task": "transfer", "dataset": dataset, "metrics": {metric: value}, "protocol": protocol}
        sha256 = f"{name}{seed}".encode().hex().ljust(64, "0")
        a_result(path, value, init, seed, pretraining=of, settings=settings, checkpoint_sha256=sha256, **known, **more)


def tables_of(text):
    """Every table of the section as a list of rows of cells, its heading first."""
    section = text.partition("## Transfer to other data sets")[2].partition("\n## ")[0]
    found, lines = [], section.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\| -", line):
            rows = [lines[number - 1]]
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(row)
            found.append([[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows])
    return found


def test_published_rows_stand_below_ours_of_the_same_protocol_alone(tmp_path):
    a_trunk(tmp_path / "runs", "byol", (70.0, 71.0, 72.0))
    a_trunk(tmp_path / "runs", "simclr", (10.0, 11.0, 12.0), OTHER)
    text = markdown_of(tmp_path / "runs", tmp_path / "out")
    own, shared = tables_of(text)  # by the names of their protocols
    assert [row[0] for row in own[1:]] == ["ResNet-18, SimCLR, 100 epochs"]
    assert shared[0][2:] == ["Food-101, top1", "DTD, top1", "Oxford Pets, mean per class"]  # in the published order
    assert shared[1] == ["ResNet-18, BYOL, 100 epochs", "—", "71.0 (n=1)", "70.0 (n=1)", "72.0 (n=1)"]
    assert shared[2] == ["published: BYOL, ResNet-50, 1000 epochs", "—", "75.3", "75.5", "90.4"]
    assert len(shared) == 6 and all(row[0].startswith("published: ") for row in shared[2:])
    assert "published reference: none" in text and f"published reference: {SUITE.reference}" in text


def test_the_numbers_of_both_stand_in_the_csv(tmp_path):
    a_trunk(tmp_path / "runs", "byol", (70.0, 71.0, 72.0))
    a_trunk(tmp_path / "runs", "simclr", (10.0, 11.0, 12.0), OTHER)
    write_report([tmp_path / "runs"], tmp_path / "out")
    with open(tmp_path / "out/report.csv", encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["task"] == "transfer"]
    published = {(row["row"], row["dataset"]): row["mean"] for row in rows if row["origin"] == "published"}
    assert published["SimCLR", "Food-101"] == "68.4" and published["BYOL", "Birdsnap"] == "57.2"
    measured = {(row["table"], row["dataset"]): row for row in rows if row["origin"] == "measured"}
    assert measured["Linear transfer, SimCLR and BYOL", "DTD"]["mean"] == "70.0"
    assert "no published numbers for DTD" in measured["", "DTD"]["not_comparable"]


def test_the_mean_rank_is_over_the_sets_that_all_networks_have(tmp_path):
    a_trunk(tmp_path / "runs", "byol", (70.0, 71.0, None))
    a_trunk(tmp_path / "runs", "simclr", (60.0, 72.0, 50.0))
    a_trunk(tmp_path / "runs", "unigrad", (65.0, 71.0, 55.0))
    ranks = {row[0]: row[1] for row in tables_of(markdown_of(tmp_path / "runs", tmp_path / "out"))[0][1:]}
    ours = {name: rank for name, rank in ranks.items() if "published" not in name}
    # DTD: 1, 3, 2; Food-101: two share the places 2 and 3
    assert sorted(ours.values()) == ["1.8", "2.0", "2.2"]
    assert all(rank == "—" for name, rank in ranks.items() if "published" in name)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [(520, 480, "not distinguishable"), (700, 400, "better over images")],
)
def test_networks_are_told_apart_where_no_interval_holds_nought(first, second, outcome, tmp_path):
    for name, right in (("byol", first), ("simclr", second)):
        hits = np.roll(np.arange(1000) < right, 0 if name == "byol" else 300)
        a_trunk(tmp_path / "runs", name, (right / 10, None, None), hits=hits)
    pairs = tables_of(markdown_of(tmp_path / "runs", tmp_path / "out"))[1]
    row = dict(zip(pairs[0], pairs[1], strict=True))
    assert row["Outcome"] == outcome and row["Data"] == "DTD"
    assert (
        row["First"] == f"{first / 10:.2f} (n=1)" and "1,000 images" in row["Over images"] and row["Over seeds"] == "—"
    )


def test_two_pretrained_networks_are_compared_beside_the_random_one_by_maps_over_images(tmp_path):
    """In a section of its own, for multi-label results belong to no suite."""
    draw = np.random.default_rng(0)
    marks = (draw.random((80, 3)) < 0.4).astype(np.int8)
    for name, noise in (("byol", 0.3), ("simclr", 3.0), ("random", 9.0)):
        init, step = ("random", 0) if name == "random" else ("pretrained", 20)
        scores = marks + draw.normal(0, noise, marks.shape)
        kept = per_image.of_marks(map(str, range(80)), scores, marks)
        per_image.save(tmp_path / "runs" / f"{name}.npz", kept)
        a_result(
            tmp_path / "runs" / f"{name}.json",
            None,
            init,
            task="multilabel",
            metrics=average_precision.means(scores, marks),
            pretraining={"method": name, "step": step, "epoch": 100.0},
            checkpoint_sha256=name.encode().hex().ljust(64, "0"),
            artefacts={"images": [], "per_image": f"{name}.npz"},
        )
    text = markdown_of(tmp_path / "runs", tmp_path / "out")
    (row,) = cells(text, "Multi-label linear", "Pretrained networks against each other")
    assert row[2] == "ResNet-18, BYOL, 100 epochs against ResNet-18, SimCLR, 100 epochs"
    assert row[3] == "mAP area" and "80 images" in row[7] and row[9] == "better over images"


def test_less_of_an_error_is_better(tmp_path):
    for init, metres in (("random", 1.2), ("pretrained", 0.9)):
        metrics = {"delta1": 50.0 - metres, "RMSE": metres}
        a_result(tmp_path / "runs" / f"{init}.json", None, init, task="depth", metrics=metrics)
    text = markdown_of(tmp_path / "runs", tmp_path / "out")
    rows = {row[3]: row for row in cells(text, "Frozen depth probe", "Downstream")}
    assert "better, single runs" in rows["RMSE"] and "better, single runs" in rows["delta1"]


def test_published_columns_are_data_sets():
    titles = {one.title for one in benchmarks().values()} | {"Birdsnap"}
    suites = {one.name for one in (SUITE, transfer_finetune.SUITE)}
    assert {table.setting.protocol for table in published_tables("transfer")} == suites
    assert all(set(table.metrics) <= titles for table in published_tables("transfer"))


@pytest.mark.parametrize(
    ("name", "suite", "defaults"),
    [
        ("linear", SUITE, transfer.Options()),
        ("finetune", transfer_finetune.SUITE, transfer_finetune.Options()),
    ],
)
def test_the_protocol_is_the_configurations(name, suite, defaults):
    options = yaml.safe_load((CONFIGS / f"transfer/{name}.yaml").read_text(encoding="utf-8"))
    assert set(options.pop("sets")) == {name for name in benchmarks() if name != "folders"}
    assert set(options) <= set(suite.options) and not suite.other(vars(defaults) | options)
