"""transfer.report: what is averaged, what is kept apart, how a difference is read, and what is counted once."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
from report_samples import a_line, a_result, a_run, cells, fill, markdown_of

from transfer.report.compare import Row, Summary, compare, reading
from transfer.report.found import find


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    return fill(tmp_path / "runs")


def rows_of(folder: Path) -> list[Row]:
    found = find([folder])
    return compare(found.results, found.runs)


def test_mean_and_sample_deviation_are_those_of_the_statistics_module(everything: Path, tmp_path: Path) -> None:
    row = cells(markdown_of(everything, tmp_path / "out"), "k-NN", "Downstream")[0]
    random, pretrained = [30.0, 31.0, 29.5], [40.0, 41.5, 42.0]
    deviations = [statistics.stdev(random), statistics.stdev(pretrained)]
    assert row[4] == f"{statistics.mean(random):.2f} ± {deviations[0]:.2f} (n=3)"
    assert row[5] == f"{statistics.mean(pretrained):.2f} ± {deviations[1]:.2f} (n=3)"
    gain = statistics.mean(pretrained) - statistics.mean(random)
    assert row[6] == f"{gain:+.2f} ± {math.hypot(*deviations):.2f}"
    assert row[7] == "better, beyond the spread"


def test_single_run_has_no_deviation(everything: Path, tmp_path: Path) -> None:
    for row in cells(markdown_of(everything, tmp_path / "out"), "Detection", "Downstream"):
        assert row[4].endswith("(n=1)") and not any("±" in cell for cell in row)


@pytest.mark.parametrize(
    ("random", "pretrained", "words"),
    [
        ((10.0, 12.0), (11.5, 13.5), "within the spread"),
        ((10.0, 12.0), (14.0, 16.0), "better, beyond the spread"),
        ((14.0, 16.0), (10.0, 12.0), "worse, beyond the spread"),
        ((10.0,), (14.0,), "better, single runs"),
        ((10.0, 12.0), (14.0,), "better, single pretrained run"),
        ((10.0, 14.0), (13.0,), "within the spread"),
        ((10.0,), (10.0,), "no difference"),
        (None, (10.0,), "no random baseline"),
        ((10.0,), None, "no pretrained result"),
    ],
)
def test_difference_is_read_with_its_spread(
    random: tuple[float, ...] | None, pretrained: tuple[float, ...] | None, words: str
) -> None:
    sides = [None if values is None else Summary(values) for values in (random, pretrained)]
    assert reading(Row("knn", "toys", "p", "resnet18", "", "top1", *sides)) == words


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "k-NN: k=200, 64 px"},
        {"dataset": "other toys"},
        {"arch": "resnet50"},
        {"task": "linear"},
        {"pretraining": {"method": "unigrad", "step": 40, "epoch": 4.0}},
        {"pretraining": {"method": "simsiam", "step": 20, "epoch": 2.0}},
    ],
    ids=["protocol", "dataset", "arch", "task", "length", "method"],
)
def test_numbers_are_never_mixed_across(other: dict[str, object], tmp_path: Path) -> None:
    a_result(tmp_path / "a.json", 40.0, "pretrained", 0)
    a_result(tmp_path / "b.json", 60.0, "pretrained", 1, **other)
    assert sorted(row.pretrained.values for row in rows_of(tmp_path)) == [(40.0,), (60.0,)]


def test_runs_of_other_configurations_are_other_rows(tmp_path: Path) -> None:
    for number, balance in enumerate((8.0, 8.0, 800.0)):
        folder = a_run(tmp_path / f"run-{number}", [a_line(20)], seed=number)
        text = (folder / "config.yaml").read_text().replace("balance: 8.0", f"balance: {balance}")
        (folder / "config.yaml").write_text(text)
        made = {"method": "unigrad", "step": 20, "epoch": 2.0, "run": str(folder)}
        a_result(tmp_path / f"knn-{number}.json", 40.0 + number, "pretrained", number, pretraining=made)
    assert sorted(row.pretrained.values for row in rows_of(tmp_path)) == [(40.0, 41.0), (42.0,)]


def test_copies_and_repetitions_count_once(tmp_path: Path) -> None:
    first = a_result(tmp_path / "a.json", 40.0, "pretrained")
    (tmp_path / "copy.json").write_bytes(first.read_bytes())
    a_result(tmp_path / "again.json", 44.0, "pretrained", date="2025-06-01T00:00:00+00:00")
    found = find([tmp_path, tmp_path])
    assert [row.pretrained.values for row in compare(found.results, found.runs)] == [(44.0,)]
    assert any("copy" in note for note in found.notes)
    assert "superseded by a newer file" in markdown_of(tmp_path, tmp_path / "out")


def test_differing_settings_and_shared_checkpoints_are_told(tmp_path: Path) -> None:
    for seed in range(2):
        settings = {"config": f"MODEL:\n  WEIGHTS: {seed}.pth\n  NORM: BN{seed}\nSEED: {seed}\n"}
        a_result(tmp_path / f"{seed}.json", 40.0 + seed, "pretrained", seed, settings=settings, checkpoint_sha256="aa")
    remarks = rows_of(tmp_path)[0].remarks
    assert remarks == (
        "the 2 pretrained results share one checkpoint: ± is the evaluation's spread alone",
        "settings differ between these results: MODEL.NORM",
    )


def test_not_a_number_is_left_out_of_the_mean_and_told(tmp_path: Path) -> None:
    for seed, value in enumerate((40.0, math.nan, 44.0, None)):
        a_result(tmp_path / f"{seed}.json", value, "pretrained", seed)
    row = rows_of(tmp_path)[0]
    assert row.pretrained.values == (40.0, 44.0)
    assert "top1 is missing or not a number in 2 of 4 results" in row.remarks
