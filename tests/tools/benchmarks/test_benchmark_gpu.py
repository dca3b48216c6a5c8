"""The benchmark of a GPU: on a CPU every part runs at toy size, and one that hangs or breaks costs only itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from helpers import tool_process
from helpers.repository import ROOT
from helpers.tiny_runs import ONE_THREAD
from pretrain.runtime.errors import UserError
from tools import benchmark
from tools.benchmarks.gpu.parts import PARTS

PLANTED = """
import time
from tools.benchmarks.gpu.part import Part, Reading


def measure(asked):
    yield Reading("before", "1")
    {then}
    yield Reading("after", "2")


PART = Part("{name}", {order}, {share}, measure)
"""


@pytest.mark.parametrize("name", PARTS)
def test_every_part_measures_something_at_toy_size(tmp_path, name):
    """In the process that the command starts for a part, but that it has torch already."""
    order, rows = {"name": name, "seconds": 1200, "device": "cpu", "toy": True, "images": ""}, tmp_path / "rows.jsonl"
    command = [sys.executable, ROOT / "tools/benchmarks/gpu/child.py", json.dumps(order), rows]
    done = tool_process.run(command, ONE_THREAD, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    readings = [json.loads(line) for line in rows.read_text().splitlines()]
    assert readings and all(reading["value"] for reading in readings)


def test_a_part_that_hangs_or_breaks_keeps_its_readings_and_stops_no_other(tmp_path):
    """In a copy that has these parts alone, all of which the command measures."""
    for name in ("pretrain", "transfer", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in PARTS:
        (tmp_path / f"tools/benchmarks/gpu/parts/{name}.py").unlink()
    waits = "from tools.benchmarks.gpu.commands import run_command; "
    waits += "run_command('-c', 'import time; print(6 * 7); time.sleep(600)')"
    thens = {"hangs": (waits, 0.1), "breaks": ("raise RuntimeError('no card')", 9), "works": ("pass", 9)}
    for order, (name, (then, share)) in enumerate(thens.items()):
        written = PLANTED.format(name=name, order=order, then=then, share=share)
        (tmp_path / f"tools/benchmarks/gpu/parts/{name}.py").write_text(written)
    command = [sys.executable, "tools/benchmark.py", "gpu", "--device", "cpu", "--minutes", "30", "--json", "out.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out.json").read_text())
    readings = written["results"]
    assert done.stdout.count("\n| ") == len(readings) + 1 and written["environment"]["torch"] in done.stdout
    told = [(reading["part"], reading["what"]) for reading in readings]
    assert told == [
        ("hangs", "before"),
        ("hangs", "out of time"),
        ("breaks", "before"),
        ("breaks", "failed"),
        ("works", "before"),
        ("works", "after"),
    ]
    assert readings[1]["note"].endswith("; 42")  # the last words of the tool that it waited for
    assert readings[3]["note"] == "exit code 1: RuntimeError: no card"


def test_an_unknown_part_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="--only steps is not known: choose some of step,train"):
        benchmark.main(["gpu", "--device", "cpu", "--only", "steps"])
