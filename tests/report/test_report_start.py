"""A run that started from weights: the report sets it beside these as well as beside random ones, and says which."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from helpers.report_samples import a_line, a_result, a_run, markdown_of
from pretrain.engine.checkpoint import export_trunk
from transfer import results
from transfer.report.collect.search import search_folders
from transfer.report.collect.trials import compare, group_trials
from transfer.report.model_card import write_card

SHA = "ab" * 32
START = {"file": "/weights/moco.pth", "sha256": SHA, "layout": "moco-v2", "branch": "online", "took": ["trunk"]}
START["anew"] = ["projector", "F"]
META = {"method": "unigrad", "step": 20, "epoch": 2.0}


def a_started_run(folder: Path, seed: int) -> dict[str, object]:
    """A run folder that started from weights; what its export says."""
    given = ["model.init=/weights/moco.pth", "model.arch=resnet18"]
    a_run(folder, [a_line(20)], seed=seed, overrides=given)
    (folder / "init.json").write_text(json.dumps(START))
    return META | {"run": str(folder), "init_file": START["file"], "init_sha256": SHA}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two seeds of a started run and one from scratch, with the starting weights by both ways and random ones."""
    root = tmp_path / "runs"
    for seed, (top1, random) in enumerate([(50.0, 30.0), (52.0, 31.0)]):
        made = a_started_run(root / f"warm-{seed}", seed)
        a_result(root / f"warm-{seed}.json", top1, "pretrained", seed, pretraining=made)
        a_result(root / f"random-{seed}.json", random, "random", seed)
    first = made | {"step": 0, "epoch": 0.0}
    a_result(root / "initial.json", 44.0, "starting", pretraining=first, checkpoint_sha256="1" * 64)
    a_result(root / "file.json", 45.0, "pretrained", 1, pretraining={}, checkpoint="moco.pth", checkpoint_sha256=SHA)
    a_run(root / "scratch", [a_line(20)])
    scratch = META | {"run": str(root / "scratch")}
    a_result(root / "scratch.json", 40.0, "pretrained", pretraining=scratch, checkpoint_sha256="2" * 64)
    return root


def test_a_recipe_is_compared_with_the_weights_that_it_started_from(folder: Path, tmp_path: Path) -> None:
    found = search_folders([folder])
    rows = {row.of.recipe: row for row in compare(found.results, found.runs)}
    assert set(rows) == {
        "UniGrad from weights/moco.pth, 2 epochs",
        "UniGrad, 2 epochs",
        f"another project's moco.pth {SHA[:8]}",  # which is also one of the starting weights' results
    }
    warm, scratch = rows["UniGrad from weights/moco.pth, 2 epochs"], rows["UniGrad, 2 epochs"]
    assert warm.sides["pretrained"].values == (50.0, 52.0) and sorted(warm.start.values) == [44.0, 45.0]
    spread = math.hypot(statistics.stdev([50, 52]), statistics.stdev([44, 45]))
    assert warm.gain_text == f"{51 - 44.5:+.2f} ± {spread:.2f}" and warm.difference == 51 - 30.5
    assert scratch.start is None and scratch.gain_text == "—"
    shown = ["30.50 ± 0.71 (n=2)", "44.50 ± 0.71 (n=2)", "51.00 ± 1.41 (n=2)", "+20.50 ± 1.58", f"+6.50 ± {spread:.2f}"]
    assert " | ".join(shown) in markdown_of(folder, tmp_path / "out")


def test_the_starting_weights_are_a_network_of_their_own_and_no_trial_of_the_run(folder: Path) -> None:
    found = search_folders([folder])
    recipes = {one.recipe: len(one.results) for one in group_trials(found.results, found.runs)}
    assert recipes[f"starting weights weights/moco.pth {SHA[:8]}"] == 1
    assert recipes["UniGrad from weights/moco.pth, 2 epochs"] == 2 and recipes["random initialisation"] == 2


def test_without_a_start_there_is_no_column_for_it(tmp_path: Path) -> None:
    a_result(tmp_path / "runs" / "a.json", 40.0, "pretrained")
    page = markdown_of(tmp_path / "runs", tmp_path / "out")
    assert "Starting weights" not in page and "Over the start" not in page


def test_the_report_and_the_card_say_what_was_started_from(folder: Path, tmp_path: Path) -> None:
    words = f"/weights/moco.pth (moco-v2, SHA-256 {SHA}): took trunk; at random or empty projector, F"
    assert words in markdown_of(folder, tmp_path / "out")
    run, network = folder / "warm-0", resnet18()
    network.fc = torch.nn.Identity()
    export_trunk(run / "export" / "trunk.pth", network, "resnet18", META | {"run": str(run)})
    assert words in " ".join(write_card(run).read_text(encoding="utf-8").split())
    scratch = next(one for one in search_folders([folder]).runs if one.name == "scratch")
    assert scratch.start == {} and "from" not in scratch.recipe()


def test_a_damaged_note_of_the_start_is_told(tmp_path: Path) -> None:
    a_started_run(tmp_path / "run", 0)
    (tmp_path / "run" / "init.json").write_text("{")
    found = search_folders([tmp_path])
    assert found.runs[0].start == {} and "what the run has started from is not told" in found.notes[0]


def test_a_run_of_earlier_code_without_these_options_is_the_same_recipe(tmp_path: Path) -> None:
    now, before = (a_run(tmp_path / name, [a_line(20)]) for name in ("now", "before"))
    lines = (before / "config.yaml").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.strip().startswith(("init", "freeze_stages"))]
    assert len(lines) - len(kept) == 5
    (before / "config.yaml").write_text("".join(kept).replace(str(before), str(now)))
    one, other = search_folders([tmp_path]).runs
    assert one.recipe() == other.recipe()


@pytest.mark.parametrize(
    ("meta", "init"),
    [
        ({"step": 0}, "random"),
        ({"step": 0, "init_sha256": SHA}, "starting"),
        ({"step": 9, "init_sha256": SHA}, "pretrained"),
        ({}, "pretrained"),
    ],
)
def test_what_a_trunk_is_follows_from_its_step_and_its_start(meta: dict[str, object], init: str) -> None:
    assert results.init_of(meta) == init
