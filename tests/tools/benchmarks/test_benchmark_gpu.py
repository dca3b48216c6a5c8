"""The benchmark of a GPU: on a CPU every part runs at toy size, and one that hangs or breaks costs only itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from helpers.repository import ROOT
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


def test_every_part_measures_something_at_toy_size(tmp_path, capfd):
    out = tmp_path / "gpu.json"
    benchmark.main(["gpu", "--device", "cpu", "--minutes", "120", "--json", str(out)])
    told = json.loads(out.read_text())
    readings = told["results"]
    assert {reading["part"] for reading in readings} == set(PARTS)
    assert not [reading for reading in readings if reading["what"] in ("failed", "out of time")]
    assert all(reading["value"] for reading in readings)
    shown = capfd.readouterr().out
    assert shown.count("\n| ") == len(readings) + 1 and told["environment"]["torch"] in shown


def test_a_part_that_hangs_or_breaks_keeps_its_readings_and_stops_no_other(tmp_path):
    for name in ("pretrain", "transfer", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    thens = {"hangs": ("time.sleep(600)", 0.1), "breaks": ("raise RuntimeError('no card')", 9), "works": ("pass", 9)}
    for order, (name, (then, share)) in enumerate(thens.items()):
        written = PLANTED.format(name=name, order=order, then=then, share=share)
        (tmp_path / f"tools/benchmarks/gpu/parts/{name}.py").write_text(written)
    command = [sys.executable, "tools/benchmark.py", "gpu", "--device", "cpu", "--minutes", "30", "--json", "out.json"]
    done = subprocess.run(
        [*command, "--only", ",".join(thens)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    readings = json.loads((tmp_path / "out.json").read_text())["results"]
    told = [(reading["part"], reading["what"]) for reading in readings]
    assert told == [
        ("hangs", "before"),
        ("hangs", "out of time"),
        ("breaks", "before"),
        ("breaks", "failed"),
        ("works", "before"),
        ("works", "after"),
    ]
    assert readings[3]["note"] == "exit code 1: RuntimeError: no card"


def test_an_unknown_part_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="--only steps is not known: choose some of step,train"):
        benchmark.main(["gpu", "--device", "cpu", "--only", "steps"])
