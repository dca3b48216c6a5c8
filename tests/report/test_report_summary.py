"""The top of the report: the verdict counts what it says, and every network has its column."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from helpers.report_samples import a_line, a_result, a_run, cells, markdown_of
from transfer.report.collect.names import evaluation_names
from transfer.report.sections import summary

SECTION = "Every network side by side"


def a_pair(folder: Path, task: str, protocol: str, random: float, pretrained: float, **changes: object) -> None:
    for init, value in (("random", random), ("pretrained", pretrained)):
        a_result(folder / f"{task}-{protocol[:9]}-{init}.json", value, init, task=task, protocol=protocol, **changes)


def test_verdict_counts_protocols_by_their_reading(tmp_path: Path) -> None:
    a_pair(tmp_path, "knn", "k-NN: k=20", 30.0, 40.0)
    a_pair(tmp_path, "linear", "LARS: 90 epochs", 50.0, 60.0)
    a_pair(tmp_path, "semi", "SimCLR's 1 %", 25.0, 20.0)
    lead = markdown_of(tmp_path, tmp_path / "out").partition("## ")[0]
    assert "Of 3 numbers beside" in lead
    assert "2 single runs are better, 1 single run is worse. k-NN went from 30.0 % (n=1) to 40.0 % (n=1)." in lead


def test_opening_is_one_picture_whose_bars_and_whiskers_are_the_numbers(tmp_path: Path) -> None:
    """Of every evaluation a bar a network from 0; a whisker over mean ± sample deviation, none of a single result."""
    trials = {"random": [30.0, 31.0, 29.5], "pretrained": [70.0, 74.0]}
    for init, values in trials.items():
        for seed, value in enumerate(values):
            a_result(tmp_path / f"{init}-{seed}.json", value, init, seed)
    a_pair(tmp_path, "linear", "LARS: 90 epochs", 50.0, 60.0)
    lead = markdown_of(tmp_path, tmp_path / "out").partition("## ")[0]
    (shown,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", lead)
    drawn: dict[str, list[Element]] = {}
    for element in ElementTree.parse(tmp_path / "out" / shown).iter():
        drawn.setdefault(element.get("class", ""), []).append(element)
    full = float(drawn["track"][0].get("width")) / 80  # 72 and its deviation end below 80
    means = [statistics.mean(trials["random"]), statistics.mean(trials["pretrained"]), 50.0, 60.0]
    assert [float(one.get("width")) for one in drawn["fill"]] == pytest.approx(
        [full * mean for mean in means], abs=0.01
    )
    ends = [[float(number) for number in re.findall(r"M([\d.]+)", one.get("d"))] for one in drawn["whisker"]]
    for (low, _, high), values in zip(ends, trials.values(), strict=True):
        mean, deviation = statistics.mean(values), statistics.stdev(values)
        assert [low, high] == pytest.approx([full * (mean + sign * deviation) for sign in (-1, 1)], abs=0.01)


def test_opening_shows_the_first_evaluations_and_counts_the_rest(tmp_path: Path) -> None:
    for number in range(summary.MOST_GROUPS + 2):
        a_pair(tmp_path, "linear", f"{number:03d} epochs: LARS", 50.0, 60.0)
    lead = markdown_of(tmp_path, tmp_path / "out").partition("## ")[0]
    assert "2 further evaluations" in lead and lead.count("random initialisation 50.0") == summary.MOST_GROUPS


@pytest.mark.parametrize(
    ("random", "pretrained", "words"),
    [
        ([30.0], [40.0], "1 single run is better."),
        ([30.0, 31.0], [20.0], "1 single pretrained run is worse."),
        ([30.0], [40.0, 41.0], "1 better than a single random run."),
        ([30.0, 31.0], [40.0, 41.0], "1 better beyond the spread."),
    ],
)
def test_verdict_says_whose_run_was_a_single_one(
    random: list[float], pretrained: list[float], words: str, tmp_path: Path
) -> None:
    for init, values in (("random", random), ("pretrained", pretrained)):
        for seed, value in enumerate(values):
            a_result(tmp_path / f"{init}-{seed}.json", value, init, seed)
    lead = markdown_of(tmp_path, tmp_path / "out").partition("## ")[0]
    assert f"at random initialisation: {words}" in lead


def test_networks_are_columns_and_values_are_mean_and_sample_deviation(tmp_path: Path) -> None:
    random = [30.0, 31.0, 29.5]
    for seed, value in enumerate(random):
        a_result(tmp_path / f"random-{seed}.json", value, "random", seed)
    a_result(tmp_path / "unigrad.json", 40.0, "pretrained")
    other = {"method": "simsiam", "step": 20, "epoch": 2.0}
    a_result(tmp_path / "simsiam.json", 35.0, "pretrained", pretraining=other, checkpoint_sha256="5e")
    markdown = markdown_of(tmp_path, tmp_path / "out")
    (head,), (row,) = (cells(markdown, start, SECTION) for start in ("Evaluation", "k-NN"))
    names = ["random", "SimSiam", "UniGrad"]  # random initialisation leads
    assert [name in column for name, column in zip(names, head[2:], strict=True)] == [True] * 3
    assert row[2:] == [
        f"{statistics.mean(random):.1f} ± {statistics.stdev(random):.1f} (n=3)",
        "35.0 (n=1)",
        "40.0 (n=1)",
    ]


def test_readings_of_single_classes_stay_out_of_the_overview(tmp_path: Path) -> None:
    metrics = {"few-shot 1": 40.0, "few-shot 1, std over 5 draws": 1.0, "class cat": 70.0}
    a_result(tmp_path / "r.json", None, "pretrained", task="readings", protocol="frozen", metrics=metrics)
    rows = cells(markdown_of(tmp_path, tmp_path / "out"), "Further readings", SECTION)
    assert [row[1] for row in rows] == ["few-shot 1"]


def test_recipe_is_told_with_its_augmentations(tmp_path: Path) -> None:
    a_run(tmp_path / "run", [a_line(20)], overrides=["mixing.cutmix_alpha=1.0"])
    assert "UniGrad+CutMix trained a ResNet-50" in markdown_of(tmp_path, tmp_path / "out")


def test_protocols_are_told_apart_by_as_little_as_is_needed() -> None:
    protocols = [
        ("semi", "fine-tuning on SimCLR's 1 % list: 20 epochs, lr 0.1"),
        ("semi", "fine-tuning on SimCLR's 10 % list: 20 epochs, lr 0.1"),
        ("linear", "exact (L-BFGS, float64): cached features"),
        ("linear", "SGD: cached features, 90 epochs"),
        ("linear", "SGD: cached features, 100 epochs"),
        ("knn", "k 20, T 0.07"),
    ]
    assert list(evaluation_names(protocols).values()) == [
        "Few labels (fine-tuning on SimCLR's 1 % list)",
        "Few labels (fine-tuning on SimCLR's 10 % list)",
        "Linear probe (exact (L-BFGS, float64))",
        "Linear probe (SGD, 90 epochs)",
        "Linear probe (SGD, 100 epochs)",
        "k-NN",
    ]


def test_results_of_other_data_under_one_name_have_rows_of_their_own(tmp_path: Path) -> None:
    for train, value in ((90, 20.0), (9000, 60.0)):
        counts = {"train": train, "val": 30, "classes": 3}
        a_result(tmp_path / f"{train}.json", value, "pretrained", train, counts=counts)
    rows = [line for line in markdown_of(tmp_path, tmp_path / "out").splitlines() if line.startswith("| k-NN")]
    assert {row.split("|")[3].strip() for row in rows if "| top1 |" in row and row.count("|") == 4} == {
        "20.0 (n=1)",
        "60.0 (n=1)",
    }


def test_masks_stand_for_segmentation(tmp_path: Path) -> None:
    metrics = {"bbox_AP": 30.0, "segm_AP": 20.0}
    for init in ("random", "pretrained"):
        a_result(tmp_path / f"{init}.json", None, init, task="segmentation", metrics=metrics)
    markdown = markdown_of(tmp_path, tmp_path / "out")
    assert "Instance segmentation, segm_AP: random initialisation 20.0 (n=1), UniGrad, 2 epochs 20.0 (n=1)" in " ".join(
        markdown.replace("\\_", "_").split()
    )
    assert [row[1] for row in cells(markdown, "Instance segmentation", SECTION)] == ["segm_AP"]
