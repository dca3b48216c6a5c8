"""A sweep's trial as a job of a real SLURM: started, followed, and ended early with its checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from helpers.painted import paint_both
from helpers.repository import ROOT
from helpers.tiny_runs import TINY
from tools.trials.rows import CommonSetting
from tools.trials.sweep.definition import Base, make_searches, read_definition
from tools.trials.sweep.loop import Loop
from tools.trials.sweep.place import Place
from tools.trials.sweep.progress import PRUNED
from tools.trials.sweep.storage import open_storage, open_studies

YAML = """
config: {table}
rows: [e_unigrad]
trials: 1
search: {{method.balance: {{times: 2}}}}
"""


def test_a_pruned_trial_ends_as_a_job_and_leaves_its_checkpoint(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    path, data = tmp_path / "sweep.yaml", paint_both(tmp_path / "data", train=8, val=6)
    path.write_text(YAML.format(table=ROOT / "configs/pretrain/table2"))
    read = read_definition(path, None, None)
    given = (*TINY, "optim.epochs=2000", "run.stop_on_collapse=false")
    searches = make_searches(read, Base(CommonSetting({}, {}), given, data, tmp_path / "out"))
    studies = open_studies(open_storage(tmp_path / "out", "symlink"), searches)
    loop = Loop(searches, studies, Place("slurm", ("--time", "10m", "--partition", "main", "--gpus", "0"), 2))
    assert loop.step()
    (one,) = loop.running
    assert one.record is not None and one.record.launch.cluster == "slurm" and "--partition=main" in _script(one.record)
    deadline = time.monotonic() + 120
    while not studies["e_unigrad"].get_trials()[0].intermediate_values:
        assert loop.step() and time.monotonic() < deadline
        time.sleep(0.3)
    one.proposal.set_user_attr(PRUNED, 1)  # as the pruner does where there are others to compare with
    while loop.step():
        assert time.monotonic() < deadline + 120
        time.sleep(0.3)
    (trial,) = loop.write().trials
    assert trial.state == "pruned" and trial.measurements >= 1
    assert list((one.trial.folder / "checkpoints").glob("step_*.pth"))


def _script(record) -> str:
    return (record.logs / f"{record.job_id}_submission.sh").read_text()
