"""Ctrl-C in tools/train_detection.py, at each stage: one sentence, no traceback of any process, a whole folder."""

import os
import signal
import sys
import time

import pytest

pytest.importorskip("detectron2")

from helpers import tool_process
from helpers.detection_samples import FPN, NAMES, ROOT, SIZE, tiny
from tools.datasets.drawing.layouts import write_scenes

LIMIT = 240  # seconds, on a machine that is busy


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Enough scenes to be met in the middle of the evaluation."""
    root = tmp_path_factory.mktemp("sets")
    write_scenes(root / "voc", root / "coco", NAMES, {"train": 4, "val": 800}, SIZE, seed=0)
    return root


def interrupted(sets, out, stage_begun, *more):
    """Press Ctrl-C, which meets every process of the terminal's group, once a stage has begun; code and output."""
    options = tiny(FPN, sets, "random", "DATALOADER.NUM_WORKERS=2", *more)
    command = [sys.executable, str(ROOT / "tools" / "train_detection.py"), "--config", str(FPN), "--out", str(out)]
    with tool_process.started([*command, "--visualise", "0", *options], apart=True) as tool:
        deadline = time.monotonic() + LIMIT
        while tool.process.is_alive() and not stage_begun(out) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert tool.process.is_alive(), tool.end()
        os.killpg(tool.pid, signal.SIGINT)
        done = tool.end(LIMIT)
    return done.returncode, done.stdout, done.stderr


def test_ctrl_c_in_training_leaves_a_checkpoint_and_one_sentence(sets, tmp_path):
    code, said, complained = interrupted(
        sets,
        tmp_path / "run",
        lambda out: (out / "last_checkpoint").is_file(),
        "SOLVER.MAX_ITER=5000",
        "SOLVER.CHECKPOINT_PERIOD=2",
    )
    assert code == 75 and "--resume goes on from there" in said.splitlines()[-1]
    assert "Traceback" not in complained + said


def evaluating(out):
    """A moment after the last checkpoint; detectron2's log comes too late for this, as it is buffered."""
    final = out / "model_final.pth"
    return final.is_file() and time.time() > final.stat().st_mtime + 1.5


@pytest.mark.parametrize(
    "stage_begun",
    [lambda out: (out / "log.txt").is_file(), evaluating],
    ids=["data", "evaluation"],
)
def test_ctrl_c_elsewhere_ends_with_one_sentence_and_no_traceback(sets, tmp_path, stage_begun):
    code, said, complained = interrupted(sets, tmp_path / "run", stage_begun)
    assert "Traceback" not in complained + said and not (tmp_path / "run" / "result.json").exists()
    assert code == 128 + signal.SIGINT, complained
    assert complained.strip().splitlines()[-1].startswith("interrupted: ") and complained.count("interrupted: ") == 1
