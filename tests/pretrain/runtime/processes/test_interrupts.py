"""Ctrl-C ends every tool in one sentence, whatever it meets: threads and processes of their own add nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torchvision

from helpers import tool_process
from helpers.painted import paint
from helpers.repository import ROOT
from helpers.tiny_runs import ONE_THREAD, TINY, write_images
from pretrain.engine.checkpoint import export_trunk
from pretrain.runtime.errors import STOPPED
from pretrain.runtime.processes.interrupts import INTERRUPTED, SENTENCE

ENVIRONMENT = ONE_THREAD | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images, labelled ones and a trunk."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "images").mkdir()
    write_images(folder / "images")
    for split in ("train", "val"):
        paint(folder / "classes" / split, 6)
    trunk = torchvision.models.resnet18()
    del trunk.fc
    export_trunk(folder / "trunk.pth", trunk, "resnet18", {"step": 0})
    return folder


def commands(place, out):
    """Each tool that trains or evaluates with workers, by name."""
    evaluate = ["knn", "--checkpoint", place / "trunk.pth", "--data", place / "classes", "--out", out / "{task}.json"]
    given = [*TINY, f"data.root={place / 'images'}", f"run_dir={out / 'run'}", "data.workers=2"]
    return {
        "evaluate": [*evaluate, "image_size=32", "batch_size=2", "workers=2", "device=cpu", f"cache={out / 'cache'}"],
        "pretrain": [*given, "optim.epochs=50"],
        "prepare_data": ["pack", place / "images", out / "packed", "--workers", "2"],
    }


def interrupted(place, out, tool, moment, method="fork", times="once"):
    script = [sys.executable, ROOT / "tests/helpers/interrupted.py", moment, method, times, ROOT / f"tools/{tool}.py"]
    words = list(map(str, [*script, *commands(place, out)[tool]]))
    if method == "fork" and moment != "import":  # nothing of a new interpreter is met
        with tool_process.started(words, ENVIRONMENT, apart=True) as running:
            done = running.end(240)
    else:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=240, env=ENVIRONMENT, start_new_session=True
        )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "tool, moment, method, times",
    [
        ("evaluate", "import", "fork", "once"),
        ("evaluate", "start", "forkserver", "often"),
        ("evaluate", "transfer", "spawn", "often"),
        ("evaluate", "destructor", "fork", "often"),
        ("pretrain", "transfer", "fork", "often"),
        ("prepare_data", "start", "fork", "often"),
        ("prepare_data", "start", "spawn", "once"),
    ],
)
def test_ctrl_c_at_any_moment_is_one_sentence(place, tmp_path, tool, moment, method, times):
    code, _, told = interrupted(place, tmp_path, tool, moment, method, times)
    assert (code, told) == (INTERRUPTED, f"{SENTENCE}\n")


def test_the_first_ctrl_c_of_a_training_stops_it_after_its_step(place, tmp_path):
    """While a tensor comes from a worker, whose thread that sends it would otherwise meet a broken connection."""
    code, said, told = interrupted(place, tmp_path, "pretrain", "transfer")
    assert (code, told) == (STOPPED, "") and "stopped by SIGINT after step" in said
