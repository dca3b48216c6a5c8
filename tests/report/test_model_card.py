"""tools/model_card.py: what a run folder and its results say, and nothing beyond."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from helpers.report_samples import a_line, a_result, a_run
from pretrain import load_trunk
from pretrain.engine.checkpoint import export_trunk
from pretrain.runtime.errors import UserError
from tools import model_card as tool
from transfer.report.model_card import write_card

META = {"method": "unigrad", "step": 20, "epoch": 2.0, "images_seen": 1280, "seed": 0}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    given = ["model.arch=resnet18", "optim.epochs=2"]
    folder = a_run(tmp_path / "run", [a_line(10), a_line(20, effective_rank=31.5)], "/pictures/toys/train", 3, given)
    network = resnet18()
    network.fc = torch.nn.Identity()
    export_trunk(folder / "export" / "trunk.pth", network, "resnet18", META | {"run": str(folder)})
    return folder


def measured(run: Path, path: Path, init: str = "pretrained", **changes: object) -> Path:
    content = (run / "export" / "trunk.pth").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest() if init == "pretrained" else "0" * 64
    pretraining = META | {"run": str(run)} | ({"step": 0, "epoch": 0.0} if init == "random" else {})
    return a_result(path, 41.25, init, **{"checkpoint_sha256": sha256, "pretraining": pretraining, **changes})


def test_the_card_holds_data_recipe_provenance_and_hash(run: Path) -> None:
    card = write_card(run).read_text(encoding="utf-8")
    assert card.startswith("# Model card: ResNet-18 pretrained with UniGrad\n")
    assert hashlib.sha256((run / "export" / "trunk.pth").read_bytes()).hexdigest() in card
    assert "toys/train" in card and "1,280 images were seen, about 640 an epoch" in card
    assert "0123abc" in card and "python tools/pretrain.py run_dir=x" in card and "31.5" in card
    assert (run / "config.yaml").read_text().strip() in card  # the resolved configuration, as it is
    assert "with seed 3" in card and "Apache License 2.0" in card and "Unfinished" not in card
    sections = [line for line in card.splitlines() if line.startswith("## ")]
    assert sections == ["## Data", "## Recipe and provenance", "## Results", "## Limits", "## Licence"]


@pytest.mark.slow
def test_the_lines_that_it_says_load_the_trunk_do(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = write_card(run).read_text(encoding="utf-8")
    monkeypatch.chdir(run)
    names: dict[str, torch.nn.Module] = {}
    exec(card.partition("```python\n")[2].partition("```")[0], {}, names)
    images = torch.zeros(2, 3, 32, 32)
    with torch.no_grad():
        assert names["trunk"](images).shape == (2, 512)
        assert torch.equal(names["trunk"](images), load_trunk(run / "export" / "trunk.pth")(images))


def test_without_results_nothing_is_said_of_what_it_is_worth(run: Path) -> None:
    card = write_card(run).read_text(encoding="utf-8")
    assert "No downstream result of this run was found" in card and "It was not evaluated." in card
    assert "evaluated on" not in card and "±" not in card


def test_only_the_runs_own_results_are_in_it_with_their_protocol(run: Path, tmp_path: Path) -> None:
    measured(run, run / "knn.json")
    a_result(tmp_path / "more" / "other.json", 99.5, "pretrained", dataset="elsewhere")
    card = write_card(run, [tmp_path / "more"]).read_text(encoding="utf-8")
    assert "knn on toys: k-NN: k=20, 64 px" in card and "41.25 (n=1)" in card
    assert "99.5" not in card and "elsewhere" not in card
    limits = card.partition("## Limits")[2]
    assert "It was evaluated on toys only." in limits and "pretrained on images of toys too" in limits
    assert "1 of its evaluations are single trials" in limits and "not compared with an untrained network" in limits


def test_a_baseline_and_trials_are_told_apart(run: Path) -> None:
    for seed in range(2):
        measured(run, run / f"knn-{seed}.json", metrics={"top1": 40.0 + seed}, seed=seed)
    measured(run, run / "random.json", "random", metrics={"top1": 30.0})
    card = write_card(run).read_text(encoding="utf-8")
    assert "40.50 ± 0.71 (n=2)" in card and "random initialisation" in card and "30.00 (n=1)" in card
    assert "single trials" not in card and "untrained network" not in card.partition("## Limits")[2]


def test_results_of_an_older_checkpoint_are_named_as_such(run: Path) -> None:
    measured(run, run / "old.json", checkpoint_sha256="1" * 64)
    assert "1 results are of another checkpoint of this run" in write_card(run).read_text(encoding="utf-8")


def test_an_unfinished_run_and_synthetic_images_are_said_first(run: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic.json").write_text("{}")
    text = (run / "config.yaml").read_text().replace("/pictures/toys/train", str(tmp_path / "data"))
    (run / "config.yaml").write_text(text.replace("  epochs: 2\n", "  epochs: 9\n"))
    head = write_card(run).read_text(encoding="utf-8").partition("### The exported trunk")[0]
    assert "Synthetic data" in head and "Unfinished: 2 of 9 epochs" in head


def test_a_folder_without_run_or_export_is_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the folder of one"):
        write_card(tmp_path)
    (run / "export" / "trunk.pth").unlink()
    with pytest.raises(UserError, match="trunk.pth is missing"):
        write_card(run)
    assert not (run / "MODEL_CARD.md").exists()


def test_the_tool_says_where_the_card_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool.main([str(run)])
    assert capsys.readouterr().out == f"model card: {run / 'MODEL_CARD.md'}\n"
