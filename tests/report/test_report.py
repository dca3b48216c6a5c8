"""transfer.report: what is averaged, what is kept apart, how a difference is read, and what is counted once."""

from __future__ import annotations

import csv
import json
import math
import statistics
from pathlib import Path

import pytest

from helpers.report_samples import a_line, a_result, a_run, cells, fill, markdown_of
from transfer.report import write
from transfer.report.collect.search import search_folders
from transfer.report.collect.trials import Row, Summary, compare, group_trials
from transfer.report.sections import Section, sections


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    return fill(tmp_path / "runs")


def rows_of(folder: Path) -> list[Row]:
    found = search_folders([folder])
    return compare(found.results, found.runs)


def pretrained_in(folder: Path) -> list[tuple[str, tuple[float, ...]]]:
    """(recipe, the values of its trials) of every row, by recipe and value."""
    return sorted((row.of.recipe, row.sides["pretrained"].values) for row in rows_of(folder))


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
        ((10.0, 12.0), (11.5, 13.5), "not distinguishable"),
        ((10.0, 12.0), (14.0, 16.0), "not distinguishable"),  # Welch's t is 2.8 with 2 degrees of freedom: p = 0.11
        ((10.0, 12.0, 11.0), (14.0, 16.0, 15.0), "better, beyond the spread"),  # t is 4.9 with 4: p = 0.008
        ((14.0, 16.0, 15.0), (10.0, 12.0, 11.0), "worse, beyond the spread"),
        ((10.0,), (14.0,), "better, single runs"),
        ((10.0, 12.0), (14.0,), "better, single pretrained run"),
        ((10.0, 14.0), (13.0,), "within the spread"),
        ((10.0,), (10.0,), "no difference"),
        (None, (10.0,), "no random baseline"),
        ((10.0,), None, "no pretrained result"),
    ],
)
def test_difference_is_read_with_its_spread(
    random: tuple[float, ...] | None, pretrained: tuple[float, ...] | None, words: str, tmp_path: Path
) -> None:
    for init, values in (("random", random), ("pretrained", pretrained)):
        for seed, value in enumerate(values or ()):
            a_result(tmp_path / f"{init}-{seed}.json", value, init, seed)
    assert [row.reading for row in rows_of(tmp_path)] == [words]


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
    assert sorted(values for _, values in pretrained_in(tmp_path)) == [(40.0,), (60.0,)]


@pytest.mark.slow
def test_runs_of_other_configurations_are_other_rows(tmp_path: Path) -> None:
    for number, balance in enumerate((8.0, 8.0, 800.0)):
        folder = a_run(tmp_path / f"run-{number}", [a_line(20)], seed=number)
        text = (folder / "config.yaml").read_text().replace("balance: 8.0", f"balance: {balance}")
        (folder / "config.yaml").write_text(text)
        made = {"method": "unigrad", "step": 20, "epoch": 2.0, "run": str(folder)}
        a_result(tmp_path / f"knn-{number}.json", 40.0 + number, "pretrained", number, pretraining=made)
    assert sorted(values for _, values in pretrained_in(tmp_path)) == [(40.0, 41.0), (42.0,)]


def test_a_moved_run_is_known_by_the_folder_that_was_typed(tmp_path: Path) -> None:
    for name, cutmix, top1 in (("plain", 0.0, 40.0), ("mixed", 1.0, 60.0)):
        folder = a_run(tmp_path / name, [a_line(20)], overrides=[f"mixing.cutmix_alpha={cutmix}"])
        text = (folder / "config.yaml").read_text().replace(f"run_dir: {folder}", f"run_dir: runs/{name}")
        (folder / "config.yaml").write_text(text)
        made = {"method": "unigrad", "step": 20, "epoch": 2.0, "run": f"/elsewhere/runs/{name}"}
        a_result(tmp_path / f"knn-{name}.json", top1, "pretrained", pretraining=made, checkpoint_sha256=name)
    assert pretrained_in(tmp_path) == [("UniGrad+CutMix, 2 epochs", (60.0,)), ("UniGrad, 2 epochs", (40.0,))]


def test_trunks_of_unknown_runs_and_of_other_projects_are_never_averaged(tmp_path: Path) -> None:
    for number, run in enumerate(("/a/one", "/a/two")):
        made = {"method": "unigrad", "step": 20, "epoch": 2.0, "run": run}
        a_result(tmp_path / f"lost-{number}.json", 40.0 + number, "pretrained", number, pretraining=made)
        other = {"pretraining": {}, "checkpoint": f"zoo/{number}/resnet.pth", "checkpoint_sha256": f"{number}" * 64}
        a_result(tmp_path / f"zoo-{number}.json", 60.0 + number, "pretrained", number, **other)
    assert pretrained_in(tmp_path) == [
        ("UniGrad, 2 epochs (a/one, run not found)", (40.0,)),
        ("UniGrad, 2 epochs (a/two, run not found)", (41.0,)),
        ("another project's resnet.pth 00000000", (60.0,)),
        ("another project's resnet.pth 11111111", (61.0,)),
    ]


def test_seeds_of_a_run_that_was_not_found_are_trials_where_its_trunk_tells_the_recipe(tmp_path: Path) -> None:
    for number, recipe in enumerate(("a" * 16, "a" * 16, "b" * 16)):
        made = {"method": "unigrad", "step": 20, "epoch": 2.0, "run": f"/a/{number}", "recipe": recipe}
        a_result(tmp_path / f"lost-{number}.json", 40.0 + number, "pretrained", number, pretraining=made)
    assert pretrained_in(tmp_path) == [
        ("UniGrad, 2 epochs (recipe aaaaaaaa, run not found)", (40.0, 41.0)),
        ("UniGrad, 2 epochs (recipe bbbbbbbb, run not found)", (42.0,)),
    ]


def test_another_evaluation_under_the_same_name_supersedes_nothing(tmp_path: Path) -> None:
    later = {"date": "2025-06-01T00:00:00+00:00", "settings": {"weight_decay": 0.1}}
    a_result(tmp_path / "a.json", 40.0, "pretrained", settings={"weight_decay": 0.0})
    a_result(tmp_path / "b.json", 44.0, "pretrained", **later)
    found = search_folders([tmp_path])
    assert not any(entry.superseded for entry in found.results)
    assert sorted(Summary.of(one.results, "top1").values for one in group_trials(found.results, found.runs)) == [
        (40.0,),
        (44.0,),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {"train": None}},
        {"counts": {"train": "90"}},
        {"settings": {"iterations": [9]}},
        {"commit": 7},
        {"artefacts": {"by_class": {"bbox": [1.0]}}},
    ],
    ids=["null", "text", "list", "commit", "by_class"],
)
def test_values_of_the_wrong_type_are_a_note(changes: dict[str, object], tmp_path: Path) -> None:
    a_result(tmp_path / "sound.json", 41.0, "pretrained")
    a_result(tmp_path / "a.json", 40.0, "pretrained", task="semi", **changes)
    unread = markdown_of(tmp_path, tmp_path / "out").partition("## Could not read")[2]
    words = "a.json: commit is not of the type" if "commit" in changes else "a.json holds values of the wrong type"
    assert words in unread and "sound.json" not in unread


def test_options_of_one_name_in_two_parts_of_a_detectors_configuration_are_two(tmp_path: Path) -> None:
    """As MODEL.FPN.NORM and MODEL.RESNETS.NORM are: who changes one has made another evaluation."""
    for seed, norm in enumerate(("BN", "GN")):
        config = f"MODEL:\n  FPN:\n    NORM: {norm}\n  RESNETS:\n    NORM: FrozenBN\nSEED: {seed}\n"
        a_result(tmp_path / f"{seed}.json", 40.0 + seed, "pretrained", seed, settings={"config": config})
    found = search_folders([tmp_path])
    assert [Summary.of(one.results, "top1").values for one in group_trials(found.results, found.runs)] == [
        (40.0,),
        (41.0,),
    ]
    (row,) = rows_of(tmp_path)
    assert list(row.of.remarks(row.metric)) == ["settings differ between these results: MODEL.FPN.NORM"]


def test_copies_and_repetitions_count_once(tmp_path: Path) -> None:
    first = a_result(tmp_path / "a.json", 40.0, "pretrained")
    (tmp_path / "copy.json").write_bytes(first.read_bytes())
    a_result(tmp_path / "again.json", 44.0, "pretrained", date="2025-06-01T00:00:00+00:00")
    found = search_folders([tmp_path, tmp_path])
    assert [row.sides["pretrained"].values for row in compare(found.results, found.runs)] == [(44.0,)]
    assert any("copy" in note for note in found.notes)
    assert "superseded by a newer file" in markdown_of(tmp_path, tmp_path / "out")


def test_differing_settings_and_shared_checkpoints_are_told(tmp_path: Path) -> None:
    for seed in range(2):
        settings = {"config": f"MODEL:\n  WEIGHTS: {seed}.pth\n  NORM: BN{seed}\nSEED: {seed}\n"}
        a_result(tmp_path / f"{seed}.json", 40.0 + seed, "pretrained", seed, settings=settings, checkpoint_sha256="aa")
    (row,) = rows_of(tmp_path)
    assert list(row.of.remarks(row.metric)) == [
        "the 2 pretrained results share one checkpoint: ± is the evaluation's spread alone",
        "settings differ between these results: MODEL.NORM",
    ]


def test_a_random_network_whose_blocks_add_nothing_is_told(tmp_path: Path) -> None:
    for init, more in (("random", {"pretraining": {"step": 0, "silent_blocks": 8}}), ("pretrained", {})):
        a_result(tmp_path / f"{init}.json", 40.0, init, **more)
    (row,) = rows_of(tmp_path)
    assert [told for told in row.of.remarks(row.metric) if "weak baseline" in told]


def test_not_a_number_is_left_out_of_the_mean_and_told(tmp_path: Path) -> None:
    for seed, value in enumerate((40.0, math.nan, 44.0, None)):
        a_result(tmp_path / f"{seed}.json", value, "pretrained", seed)
    (row,) = rows_of(tmp_path)
    assert row.sides["pretrained"].values == (40.0, 44.0)
    assert "top1 is missing or not a number in 2 of 4 results" in list(row.of.remarks(row.metric))


def test_a_failing_section_loses_no_number(everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> list[dict[str, object]]:
        raise ZeroDivisionError

    monkeypatch.setattr(write, "sections", lambda: [*sections(), Section("broken", "Broken", 999, fails)])
    with pytest.raises(ZeroDivisionError):
        write.write_report([everything], tmp_path / "out")
    numbers = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    with open(tmp_path / "out/report.csv", encoding="utf-8", newline="") as lines:
        assert len(numbers) == len(list(csv.DictReader(lines))) > 0
