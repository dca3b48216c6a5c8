"""The report's history of runs: every start of a run that went on, with both values of what changed."""

from __future__ import annotations

import json
import sys

import pytest

from helpers.report_samples import a_line, a_run, cells, markdown_of
from helpers.tiny_runs import configure, write_images
from pretrain.train import train

FIRST = {
    "step": 0,
    "images": 0,
    "time": "2025-01-02T03:04:05Z",
    "command": "python a.py",
    "commit": "0123",
    "changed": {},
}


def history(folder, *entries):
    run = a_run(folder, [a_line(10), a_line(20)])
    (run / "history.jsonl").write_text(
        "".join(entry if isinstance(entry, str) else json.dumps(entry) + "\n" for entry in entries)
    )
    return folder


def test_a_real_run_that_went_on_with_another_option_shows_both_values(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "a file.yaml"])
    (tmp_path / "images").mkdir()
    images = write_images(tmp_path / "images")
    quick = ["optim.warmup_epochs=0", "run.log_every=9"]
    for epochs in (1, 2):
        train(configure(images, tmp_path / "runs" / "one", *quick, f"optim.epochs={epochs}"))
    rows = cells(markdown_of(tmp_path / "runs", tmp_path / "out"), "one", "How runs went on")
    assert [row[1:3] for row in rows] == [["0", "0"], ["2", "16"]]
    assert rows[0][4] == "—" and rows[1][4] == "optim.epochs 1 → 2"
    assert all("train.py --config 'a file.yaml'" in row[-1] for row in rows)


def test_a_run_of_one_start_or_of_no_history_has_no_such_section(tmp_path):
    history(tmp_path / "runs" / "a", FIRST)
    a_run(tmp_path / "runs" / "b", [a_line(10)])
    assert "How runs went on" not in markdown_of(tmp_path / "runs", tmp_path / "out")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            {"step": 5, "changed": {"optim.base_lr": [0.1, 0.2], "data.val": [None, "v"]}},
            "optim.base_lr 0.1 → 0.2, data.val null → v",
        ),
        ({"step": 5, "changed": {"a": "b"}, "command": ["x"], "time": 3}, "a ? → ?"),
        ({"step": 5, "changed": ["a"]}, "—"),
    ],
)
def test_odd_entries_are_shown_as_far_as_they_can_be(tmp_path, entry, told):
    history(tmp_path / "runs" / "a", FIRST, entry, "{cut\n", {"step": "x"})
    said = markdown_of(tmp_path / "runs", tmp_path / "out")
    assert told in said and said.count("not recorded") >= 1


@pytest.mark.parametrize("words", [["data.mean=auto", "optim.accumulate=auto"], ["data.mean=[0.5,0.5,0.5]"]])
def test_a_run_is_shown_whose_options_are_lists_or_words_in_place_of_numbers(tmp_path, words):
    a_run(tmp_path / "runs" / "a", [a_line(10)], overrides=words)
    assert "wrong type" not in markdown_of(tmp_path / "runs", tmp_path / "out")
