"""Trials are the same run from several seeds, and what they have in common is stated with its spread."""

import json
import statistics
from dataclasses import replace

import pytest

pytest.importorskip("detectron2")

from helpers.detection_samples import C4, FPN, QUIET, tiny, write_sets
from pretrain.runtime.errors import UserError
from tools import train_detection
from transfer import results
from transfer.detection import trials

pytestmark = [*QUIET, pytest.mark.slow]


def a_result(seed, ap, **changes):
    values = {
        "task": "detection",
        "protocol": "Faster R-CNN: 2 iterations",
        "dataset": "toys",
        "metrics": {"bbox_AP": ap},
        "counts": {},
        "seed": seed,
        "init": "random",
        "arch": "resnet18",
        "checkpoint": "",
        "checkpoint_sha256": "",
    }
    return results.Result(**{**values, **changes})


def test_the_summary_has_mean_and_sample_deviation_of_every_metric():
    values = [20.0, 21.0, 23.5]
    summary = trials.summarise_trials([a_result(seed, value) for seed, value in enumerate(values)])
    assert summary["seeds"] == [0, 1, 2] and summary["trials"]["protocol"] == "Faster R-CNN: 2 iterations"
    measured = summary["measured"]["bbox_AP"]
    assert measured["mean"] == pytest.approx(statistics.fmean(values))
    assert measured["std"] == pytest.approx(statistics.stdev(values)) and measured["values"] == values
    assert trials.summarise_trials([a_result(0, 5.0)])["measured"]["bbox_AP"]["std"] is None


@pytest.mark.parametrize("change", [{"protocol": "RetinaNet"}, {"checkpoint_sha256": "ab"}, {"dataset": "other"}])
def test_trials_of_different_things_are_never_averaged(change):
    with pytest.raises(UserError, match="these trials differ in their"):
        trials.summarise_trials([a_result(0, 1.0), a_result(1, 2.0, **change)])
    with pytest.raises(UserError, match="the same seed"):
        trials.summarise_trials([a_result(0, 1.0), a_result(0, 2.0)])


def test_the_tool_trains_every_seed_and_puts_together_what_is_there(tmp_path, capsys):
    sets, out = write_sets(tmp_path / "sets"), tmp_path / "out"
    command = ["--config", str(C4), "--out", str(out), "--visualise", "0", *tiny(C4, sets)]
    train_detection.main([*command, "--trials", "2"])
    told = capsys.readouterr().out
    assert "seeds 0, 1" in told and "(n=2)" in told and "trials.json" in told
    of_seed = [results.load(out / f"trial-{seed}" / "result.json") for seed in (0, 1)]
    assert [result.seed for result in of_seed] == [0, 1]
    # one of three, as an array of jobs would have written it, stands there already: nothing is trained but the third
    results.save(out / "trial-1" / "result.json", replace(of_seed[1], metrics={**of_seed[1].metrics, "bbox_AP": 50.0}))
    before = (out / "trial-0" / "metrics.json").stat().st_mtime_ns
    train_detection.main([*command, "--trials", "3", "--resume"])
    written = json.loads((out / "trials.json").read_text())
    assert written["seeds"] == [0, 1, 2] and written["measured"]["bbox_AP"]["values"][1] == 50.0
    assert (out / "trial-0" / "metrics.json").stat().st_mtime_ns == before


def test_a_result_tells_classes_curves_and_the_protocols_name(tmp_path):
    sets, out = write_sets(tmp_path / "sets"), tmp_path / "out"
    train_detection.main(["--config", str(FPN), "--out", str(out), "--visualise", "0", *tiny(FPN, sets)])
    result = results.load(out / "result.json")
    assert result.settings["protocol"] == "Mask R-CNN FPN, narrow heads, demo-sized"
    assert result.settings["peak_memory_mb"] > 100
    assert set(result.artefacts["by_class"]) <= {"bbox", "segm"}
    for curves in result.artefacts["curves"].values():
        assert len(curves["recall"]) == 21 and all(0 <= value <= 100 for value in curves["0.50"])
