"""Schedulers are known by their files alone, and one file each holds what is true of one of them."""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers import launched
from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from tools.launcher import cli, control, job_record, plan, schedulers
from tools.launcher.request import Request
from tools.launcher.schedulers import base

FOLDER = "tools/launcher/schedulers"
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for room in ("pretrain", "transfer", "tools")
    for path in (ROOT / room).rglob("*.py")
}
OF_SLURM = re.compile(
    r"\b(scontrol|sbatch|srun|squeue|scancel|sacct|SLURMD?_\w+|SRUN_\w+|JobState|BOOT_FAIL|COMPLETING|CONFIGURING|"
    r"NODE_FAIL|OUT_OF_MEMORY|PREEMPTED|REQUEUED|afterok)\b"
)
IN_PROSE = {
    "tools/launch.py",
    "tools/launcher/pipeline/run.py",
    "pretrain/runtime/processes/signals.py",
}  # they name it to users
CROPS = {"tools/benchmarks/reference/checks.py"}  # where "local" is a small view


def _names_a_scheduler(source: str) -> list[int]:
    """Lines of the string constants that are a scheduler's name, whatever is done with them."""
    constants = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [node.lineno for node in constants if node.value in schedulers.names()]


def _compares_with_a_scheduler(source: str) -> bool:
    """Whether a name stands in a comparison, or in a case of a match."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare | ast.MatchValue)]
    return any(_names_a_scheduler(ast.unparse(node)) for node in nodes if isinstance(node, ast.Compare)) or any(
        isinstance(node.value, ast.Constant) and node.value.value in schedulers.names()
        for node in nodes
        if isinstance(node, ast.MatchValue)
    )


@pytest.mark.parametrize(
    "source", ['x = f(cluster) == "slurm"', 'if c in ("slurm", "local"): pass', 'match c:\n case "local": pass']
)
def test_every_way_of_branching_on_a_name_is_seen(source: str) -> None:
    assert _names_a_scheduler(source) and _compares_with_a_scheduler(source)


def test_no_file_outside_the_folder_names_a_scheduler() -> None:
    found = {path for path, source in SOURCES.items() if _names_a_scheduler(source) and not path.startswith(FOLDER)}
    assert found <= CROPS
    assert not any(_compares_with_a_scheduler(SOURCES[path]) for path in CROPS)


def test_the_words_of_slurm_are_in_its_folder_alone() -> None:
    outside = {path: source for path, source in SOURCES.items() if not path.startswith(f"{FOLDER}/slurm/")}
    assert len(outside) < len(SOURCES) and not {path for path, source in outside.items() if OF_SLURM.search(source)}
    assert {path for path, source in outside.items() if "SLURM" in source} <= IN_PROSE


def test_the_command_line_offers_every_file_of_the_folder() -> None:
    files = {path.stem for path in (ROOT / FOLDER).glob("[a-z]*") if path.suffix == ".py" or path.is_dir()} - {"base"}
    assert set(schedulers.names()) == files == {"slurm", "local"}
    shown = cli.parser().format_help()
    assert "--cluster {slurm,local}" in shown and "(default slurm)" in shown


@pytest.mark.parametrize("name", schedulers.names())
def test_every_scheduler_has_what_the_interface_asks_for(name: str) -> None:
    asked = [word for word in vars(base.Scheduler) if not word.startswith("_")]
    scheduler = schedulers.find_scheduler(name)
    assert len(asked) > 5 and all(hasattr(scheduler, word) for word in asked)
    for part, of in (("queue", base.Queue), ("starter", base.Starter)):
        own = getattr(scheduler, part)
        assert own is None or all(hasattr(own, word) for word in vars(of) if not word.startswith("_"))


def test_options_of_one_scheduler_are_left_alone_by_another() -> None:
    for cluster, options in (("slurm", {"partition": "p", "mem": "1G"}), ("local", {})):
        words = ["prepare_data", "--cluster", cluster, "--partition", "p", "--mem", "1G", "--slurm", "hold", "x"]
        request = plan.plan(*cli.split_arguments(words)).request
        assert request.options == options and request.extra == ({"hold": True} if options else {})


WRITTEN = {  # by tools/launch.py before schedulers had files of their own
    "job_id": "999999999",
    "tool": "prepare_data",
    "commands": [["python", "tools/prepare_data.py", "synthetic", "set"]],
    "folder": "/nowhere",
    **{"name": "prepare_data", "nodes": 1, "tasks": 2, "gpus": 0, "cpus": 1, "minutes": 4320, "retries": 3},
    **{"signal_delay": 120, "options": {"partition": "gpu"}, "extra": {"mem": "64G", "hold": True}},
    "environment": {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    "code": "/nowhere/code/0123456789ab",
    "settings": "0123456789ab",
    "submitted": "2026-01-02T03:04:05+0000",
    "cancelled": False,
}


def _write_old(run_dir: Path, cluster: str, **more: Any) -> None:
    log = run_dir / "jobs" / f"{WRITTEN['job_id']}_0_log.out"
    log.parent.mkdir(parents=True)
    log.write_text("submitit INFO\nhello\n")
    for rank, code in enumerate((0, 3)):
        ended = {"rank": rank, "host": "n", "code": code, "time": 1.0}
        (log.parent / f"{WRITTEN['job_id']}_{rank}_exit.json").write_text(json.dumps(ended))
    place = {"cluster": cluster, "run_dir": str(run_dir), "log_of_rank_0": str(log), "host": socket.gethostname()}
    (run_dir / "job.json").write_text(json.dumps(WRITTEN | place | more))


def test_a_job_of_earlier_code_is_looked_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_old(tmp_path, "local")
    told = launched.told(tmp_path)
    assert (told["state"], told["cluster"], told["nodes"], told["retries"]) == ("failed", "local", 1, 0)
    control.main(["logs", str(tmp_path)])
    assert capsys.readouterr().out == "hello\n"
    control.main(["cancel", str(tmp_path)])
    assert "is over already: failed: rank 1 of 2 on n ended with exit code 3" in capsys.readouterr().out
    with pytest.raises(UserError, match="the code that .* ran, .* is gone"):
        control.main(["resume", str(tmp_path)])


def test_the_request_of_an_earlier_slurm_job_is_submitted_as_it_was(tmp_path: Path) -> None:
    _write_old(tmp_path, "slurm")
    record = job_record.read_record(tmp_path)
    script = schedulers.find_scheduler("slurm").preview(record.launch)[1]
    for line in ("--partition=gpu", "--mem=64G", "--hold", "--ntasks-per-node=2", "--signal=B:USR2@120"):
        assert f"#SBATCH {line}" in script.splitlines()
    record.write()
    assert json.loads((tmp_path / "job.json").read_text()).keys() == {
        *WRITTEN,
        "cluster",
        "run_dir",
        "log_of_rank_0",
        "host",
    }


def test_batch_scripts_of_earlier_code_still_start(tmp_path: Path) -> None:
    """They name no scheduler, and the module by its old name."""
    asked = ["-m", "tools.launcher.attempts", f"--logs={tmp_path}", "--ranks=1", "--cpus=1", "--retries=0", "--"]
    srun = tmp_path / "srun"  # in place of SLURM's: runs what stands after its options
    srun.write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    code = f"import json, pathlib; pathlib.Path({str(tmp_path)!r}, '7_0_exit.json').write_text(json.dumps("
    code += "{'rank': 0, 'host': 'n', 'code': 0, 'time': 1.0}))"
    done = subprocess.run(
        [launched.command()[0], *asked, launched.command()[0], "-c", code],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (attempt,) = [json.loads(line) for line in (tmp_path / "7_attempts.jsonl").read_text().splitlines()]
    assert (attempt["outcome"], attempt["nodes"]) == ("completed", "n")


def test_a_request_without_time_to_run_is_refused_by_the_one_that_warns() -> None:
    short = Request("x", minutes=3)
    schedulers.find_scheduler("local").check(short)
    with pytest.raises(UserError, match="SLURM warns"):
        schedulers.find_scheduler("slurm").check(short)
