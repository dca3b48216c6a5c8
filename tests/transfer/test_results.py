"""transfer.results: the JSON that every evaluation writes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from transfer import results, tasks
from transfer.report.collect.files import differing, evaluation


def a_result(**changes: object) -> results.Result:
    values = {
        "task": "knn",
        "protocol": "k-NN, 64 px",
        "dataset": "toy",
        "metrics": {"top1": 41.25},
        "counts": {"train": 10, "val": 5, "classes": 2, "skipped": 0},
        "seed": 3,
        "init": "random",
        "arch": "resnet18",
        "checkpoint": "trunk.pth",
        "checkpoint_sha256": "0" * 64,
        "pretraining": {"step": 0},
    }
    return results.Result(**{**values, **changes})


def test_load_returns_what_save_wrote(tmp_path: Path) -> None:
    result = a_result(settings={"image_size": 64}, seconds=1.5)
    path = results.save(tmp_path / "new" / "knn.json", result)
    assert results.load(path) == result
    assert [entry.name for entry in path.parent.iterdir()] == ["knn.json"]  # nothing temporary is left behind


def test_saved_file_holds_exactly_the_documented_keys(tmp_path: Path) -> None:
    written = json.loads(results.save(tmp_path / "r.json", a_result()).read_text())
    assert sorted(written) == sorted(
        [
            "task",
            "protocol",
            "dataset",
            "metrics",
            "counts",
            "seed",
            "init",
            "arch",
            "checkpoint",
            "checkpoint_sha256",
            "pretraining",
            "commit",
            "date",
            "hardware",
            "seconds",
            "settings",
            "artefacts",
        ]
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"metrics"', '"metric"'),
        lambda text: text.replace('"knn"', '"k-nn"'),
    ],
    ids=["truncated", "not a mapping", "misspelt key", "unknown task"],
)
def test_damaged_file_is_refused_in_one_sentence(tmp_path: Path, damage) -> None:
    path = results.save(tmp_path / "r.json", a_result())
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=r"r\.json"):
        results.load(path)


def test_commit_is_the_clones_head_as_git_says() -> None:
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if said.returncode:
        assert a_result().commit is None
    else:
        assert a_result().commit.removesuffix("-dirty") == said.stdout.strip()


def test_hardware_is_told_without_asking() -> None:
    assert a_result().hardware


EARLIER = sorted((ROOT / "tests" / "data" / "earlier_results").glob("*.json"))


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_a_file_of_an_earlier_commit_is_still_read(path: Path) -> None:
    result = results.load(path)
    assert result.task == path.stem and result.metrics
    assert "found" in result.settings and result.settings["image_size"] == 32


def test_a_protocol_that_was_reworded_is_read_in_todays_words() -> None:
    """So earlier numbers share a column with today's."""
    path = next(path for path in EARLIER if path.stem == "readings")
    assert "for the dear ones" in path.read_text(encoding="utf-8")
    today = "readings of frozen trunk features, those that take long of at most 1000 images of val; val under "
    assert results.load(path).protocol.startswith(today)


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_what_an_earlier_file_says_of_other_evaluators_makes_it_no_other_evaluation(path: Path) -> None:
    """Earlier files of k-NN also held the options of linear probes and of readings."""
    earlier = results.load(path)
    foreign = tasks.foreign_settings(earlier.task)
    today = replace(earlier, settings={name: value for name, value in earlier.settings.items() if name not in foreign})
    assert ("probe" in today.settings, "k" in today.settings) == (path.stem == "linear", path.stem == "knn")
    assert evaluation(earlier) == evaluation(today) and differing([earlier, today], "settings") == []
    other = replace(today, settings=today.settings | {"image_size": 64})
    assert evaluation(other) != evaluation(today) and differing([other, today], "settings") == ["image_size"]
