"""The benchmarks of whole steps, loaders and runs: numbers that fit together, and none beside a wrong reference."""

from __future__ import annotations

import importlib.util
import json

import pytest

from helpers.textured import write_folder
from pretrain.runtime.errors import run_tool
from tools.benchmark import main
from tools.benchmarks.measure import train
from tools.benchmarks.measure.step import LIGHTLY, Size
from tools.benchmarks.reference import equivalence, losses
from tools.benchmarks.reference.step import OfficialTraining

pytestmark = pytest.mark.slow

TINY = ["step", "--device", "cpu", "--size", "32", "--batch", "2", "--width", "16", "--repeats", "2"]


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "set", 3, (60, 48))


def test_a_broken_formulation_fails_by_name_and_whole_steps_still_agree(monkeypatch, capsys):
    monkeypatch.setitem(equivalence.OFFICIAL, "unigrad", lambda balance: losses.UniGrad(2 * balance))
    with pytest.raises(SystemExit) as left:
        main(["equivalence"])
    assert left.value.code not in (0, None)
    lines = capsys.readouterr().out.splitlines()
    (failed,) = (line for line in lines if line.startswith("FAIL"))
    assert "gradient of unigrad" in failed and "at most 1e-10" in failed
    assert sum(line.startswith("PASS  state after 3 steps") for line in lines) == 2


def test_a_wrong_official_step_withholds_the_speed(monkeypatch, capsys):
    """A target that stays where it is."""
    monkeypatch.setattr(OfficialTraining, "_follow", lambda self, momentum: None)
    with pytest.raises(SystemExit) as left:
        main(TINY)
    assert left.value.code not in (0, None)
    shown = capsys.readouterr().out
    assert "FAIL  state after 3 steps" in shown and "images/s" not in shown


def test_ratios_of_steps_are_to_the_official_one_in_pairs(tmp_path, capsys):
    main([*TINY, "--json", str(tmp_path / "step.json")])
    told = json.loads((tmp_path / "step.json").read_text())
    names = ["official-style fp32", "official-style bf16", "ours fp32", "ours bf16"]
    peers = [LIGHTLY] if importlib.util.find_spec("lightly") else []
    assert [row["contender"] for row in told["results"]] == names + peers
    assert told["results"][0]["ratio"] is None
    for row in told["results"][1:]:
        assert row["ratio"]["repeats"] == 2 and row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
    assert told["environment"]["checks"][0]["value"] < 1e-10
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


def test_loaders_give_the_same_images_and_stand_beside_the_official_one(folder, tmp_path, capsys):
    small = ["--images", "4", "--size", "32", "--batch", "2", "--locals", "1", "--local-size", "16"]
    options = [*small, "--worker-counts", "1", "--repeats", "1"]
    main(["loader", str(folder), *options, "--json", str(tmp_path / "loader.json")])
    told = json.loads((tmp_path / "loader.json").read_text())
    assert [row["workers"] for row in told["results"]] == [1, 1, 1]
    assert [row["ratio"] is None for row in told["results"]] == [True, False, False]
    assert all(row["cpu"]["median"] > 0 for row in told["results"])
    assert "wall" in told["environment"]["clock"] and "cores a GPU" in capsys.readouterr().out


def test_training_tells_its_speed_and_the_hours_that_follow_from_it(folder):
    size = Size(size=32, batch=2, width=16)
    cost = train.measure(folder, size, 3, "data.workers=0", "run.device=cpu", "run.precision=fp32")
    assert cost.images_per_second.repeats == 1  # the window of 5 steps that holds 3
    assert 0 < cost.waiting.median < 1 and not cost.packed
    assert cost.hours(800) == pytest.approx(800 * 1_281_167 / cost.images_per_second.median / 3600)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--arch", "resnet19"], "model.arch=resnet19 is not known"),
        (["--batch", "1"], "optim.batch_size=1 is out of range"),
        (["--size", "64,128"], "--size 64,128 is more than one number"),
        (["--locals", "-1"], "--locals -1 is not understood"),
        (["--threads", "0"], "--threads 0 is not understood"),
    ],
)
def test_bad_options_of_a_step_end_in_one_sentence(options, words, capsys):
    with pytest.raises(SystemExit) as left:
        run_tool(lambda: main([*TINY, *options]))
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert words in error and len(error.strip().splitlines()) == 1
