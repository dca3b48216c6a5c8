"""A job runs the code and the configuration that it was submitted with, whatever is edited while it waits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from helpers import launched, tiny_runs
from helpers.repository import ROOT
from tools.launcher import job_record, snapshot
from tools.launcher.request import Launch, Request


def test_what_is_edited_after_the_submission_does_not_reach_the_job(slurm: Path, tmp_path: Path) -> None:
    code, run_dir = tmp_path / "code", tmp_path / "run"
    for name in snapshot.FOLDERS:
        shutil.copytree(tiny_runs.ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "images").mkdir()
    tiny_runs.write_images(tmp_path / "images")
    config = tmp_path / "mine.yaml"
    config.write_text("optim: {epochs: 1, batch_size: 8, base_lr: 1.0}\n")
    words = ["--gpus", "0", "--time", "20m", "--slurm", "hold", "--run-dir", run_dir, "--config", config]
    words += [word for word in tiny_runs.TINY if not word.startswith("optim")]
    words += ["optim.warmup_epochs=0", f"data.root={tmp_path}/images"]
    asked = [sys.executable, code / "tools/launch.py", *words]
    done = subprocess.run(list(map(str, asked)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    config.write_text("optim: {epochs: 500}\n")
    for path in (code / "pretrain").glob("*.py"):
        path.write_text("raise RuntimeError('edited')\n")
    record = job_record.read_record(run_dir)
    subprocess.run(["scontrol", "release", record.job_id], check=True)
    launched.until(lambda: launched.status.job_state(record).over, 120)
    assert launched.state(record) == "completed", record.log(0).read_text()
    assert record.launch.code.parent == run_dir / "code"
    assert f"{record.launch.code}/tools/pretrain.py" in (run_dir / "command.txt").read_text()
    assert "epochs: 1\n" in (run_dir / "config.yaml").read_text()
    written = json.loads((record.launch.code / "snapshot.json").read_text())
    assert "torch" in written["packages"] and written["commit"] is None  # the copy is in no checkout


def test_configurations_from_elsewhere_are_copied_with_those_that_they_extend(tmp_path: Path) -> None:
    base = ROOT / "configs/pretrain/demo.yaml"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/base.yaml").write_text(f'_BASE_: "{base}"\na: 1\n')
    (tmp_path / "mine.yaml").write_text("_BASE_: other/base.yaml\nb: 2\n")
    words = ("python", str(ROOT / "tools/train_detection.py"), "--config", "mine.yaml")
    launch = Launch("slurm", "detection", (words,), str(tmp_path), Request("x"), tmp_path / "run", {})
    planned = snapshot.from_snapshot(launch)
    snapshot.write_snapshot(planned)
    mine = Path(planned.commands[0][3])
    first, *rest = mine.read_text().splitlines()
    second = Path(first.removeprefix("_BASE_: ").strip('"'))
    assert mine.parent == second.parent == planned.code / "given" and rest == ["b: 2"]
    assert second.read_text() == f'_BASE_: "{planned.code}/configs/pretrain/demo.yaml"\na: 1\n'
    assert (planned.code / "configs/pretrain/demo.yaml").read_bytes() == base.read_bytes()
    (tmp_path / "other/base.yaml").write_text("a: 3\n")
    edited = snapshot.from_snapshot(launch)
    assert edited.code != planned.code and edited.settings != planned.settings
