"""The report's sweeps: the best of every row, all trials, and a line a trial over parallel axes."""

from __future__ import annotations

import json
import math
import re
from xml.etree import ElementTree

import pytest

from helpers.report_samples import markdown_of
from transfer.report.collect.search import search_folders
from transfer.report.render.parallel import Axis
from transfer.report.sections.sweeps import parallel

BALANCE = {"low": 0.01, "high": 100.0, "log": True, "choices": []}
KIND = {"low": 0, "high": 0, "log": False, "choices": ["sgd", "lars"]}


def trial(row, number, state, balance, kind, value, why=""):
    params = {"method.balance": balance, "optim.optimiser": kind}
    known = {"row": row, "name": f"{row}-{number}", "state": state, "params": params, "value": value}
    return known | {"measurements": 3, "why": why}


TRIALS = [
    trial("a", 0, "complete", 1.0, "sgd", 40.0),
    trial("a", 1, "complete", 10.0, "lars", 45.5),
    trial("a", 2, "pruned", 0.01, "sgd", 60.0),  # the highest, but it did not end on its own
    trial("b", 0, "failed", 100.0, "lars", None, "the features | collapsed"),
]
SWEEP = {
    "metric": "knn",
    "sampler": "tpe",
    "pruner": "median",
    "setting": "resnet18, 3 epochs.",
    "rows": [
        {"row": row, "trials": 4, "given": {"method.balance": 5.0, "optim.optimiser": "sgd"}}
        | {"ranges": {"method.balance": BALANCE, "optim.optimiser": KIND}}
        for row in ("a", "b")
    ],
    "trials": TRIALS,
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/sweep.json").write_text(json.dumps(SWEEP))
    return tmp_path / "runs"


def test_the_best_trial_is_the_highest_of_those_that_ended_on_their_own(folder, tmp_path):
    text = markdown_of(folder, tmp_path / "report")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    best = next(row for row in rows if row[:2] == ["a", "a-1"])
    assert best[2:] == ["45.50", "10", "5", "lars", "sgd", "2 complete, 1 pruned of 4"]
    failed = next(line for line in text.splitlines() if "b-0" in line)
    assert r"failed: the features \| collapsed" in failed
    assert "best 45.50 at method.balance 10, optim.optimiser lars" in text and "b: none has ended" in text
    svg = (tmp_path / "report/figures/sweep_0.svg").read_text()
    ElementTree.fromstring(svg)
    for word in ("method.balance", "optim.optimiser", "k-NN, %", "lars", ">row<"):
        assert word in svg
    assert '<figure class="parallel">' in (tmp_path / "report/report.html").read_text()


def test_a_line_stands_on_every_axis_where_its_value_says(folder):
    (sweep,) = search_folders([folder]).sweeps
    picture = parallel(sweep, "key")
    assert [axis.title for axis in picture.axes] == ["row", "method.balance", "optim.optimiser", "k-NN, %"]
    drawn = picture.specification()
    layers = {one["data"]["values"][0]["look"]: one["data"]["values"] for one in drawn["layer"][1:4]}
    places = {point["axis"]: point["y"] for point in layers["best"]}
    assert places["method.balance"] == pytest.approx((math.log10(10) + 2) / 4)
    assert places["k-NN, %"] == pytest.approx((45.5 - 39) / 22)  # from 40 to 60 with a twentieth on either side
    assert (places["row"], places["optim.optimiser"]) == (0.75, 0.75)
    faint = {point["line"] for point in layers["faint"]}
    assert faint == {2, 3} and {point["line"] for point in layers["plain"]} == {0}
    assert not [point for point in layers["faint"] if point["line"] == 3 and point["axis"] == "k-NN, %"]


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        (Axis("x", 0.01, 100, log=True), ["0.01", "0.1", "1", "10", "100"]),
        (Axis("x", 2, 8, log=True), ["2", "5"]),
        (Axis("x", 0, 10), ["0", "2", "4", "6", "8", "10"]),
        (Axis("x", names=("b", "a")), ["b", "a"]),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(axis, labels):
    assert [tick["label"] for tick in axis.ticks()] == labels
    assert all(0 <= tick["y"] <= 1 for tick in axis.ticks())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"row": "b", "name"', '"row": "c", "name"'),
        lambda text: text.replace("45.5", '"much"'),
        lambda text: "[]",
        lambda text: re.sub(r'"low": 0.01', '"low": 200', text),
    ],
)
def test_a_damaged_sweep_is_a_note_and_the_report_goes_on(folder, tmp_path, damage):
    whole = (folder / "sweep.json").read_text()
    (tmp_path / "runs/other").mkdir()
    (tmp_path / "runs/other/sweep.json").write_text(damage(whole))
    data = search_folders([folder])
    assert len(data.sweeps) == 1
    (told,) = data.notes
    assert "other/sweep.json is no sweep that tools/sweep.py wrote" in told and told.endswith("start the sweep again.")
