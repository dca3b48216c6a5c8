"""What the launcher writes is read as it was meant: by the shell, by sbatch, and by the tool that it starts."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.launched import planned
from pretrain.config import Config, load
from tools import launch
from tools.launcher import job_record, schedulers, snapshot
from tools.launcher.pipeline import spec
from tools.launcher.site import variables


def test_what_a_job_needs_of_the_shell_is_kept_in_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if variables.is_carried(name):
            monkeypatch.delenv(name)
    wanted = {"NCCL_SOCKET_IFNAME": "ib0", "LD_LIBRARY_PATH": "/opt/lib", "DETECTRON2_DATASETS": "/data"}
    for name, value in (wanted | {"TORCHELASTIC_RUN_ID": "7", "SECRET": "x"}).items():
        monkeypatch.setenv(name, value)
    launched = planned("--run-dir", str(tmp_path / "run"))
    assert launched.environment == wanted | {"OMP_NUM_THREADS": str(launched.request.cpus)}
    job_record.new_record(launched, "7").write()
    read = job_record.read_record(tmp_path / "run").launch
    assert read.environment == launched.environment and read.request == launched.request
    kind = planned("--run-dir", str(tmp_path / "run"), "--gpus", "a100:4")
    job_record.new_record(kind, "8").write()
    assert job_record.read_record(tmp_path / "run").launch.request == kind.request
    words = schedulers.find_scheduler("slurm").preview(snapshot.from_snapshot(launched))
    assert "LD_LIBRARY_PATH=/opt/lib" in words[1] and "--export=ALL" in words[-1]


@pytest.mark.parametrize("trials", [None, 3])
def test_a_percent_sign_in_a_folder_is_written_as_slurm_reads_it(trials: int | None, tmp_path: Path) -> None:
    """sbatch and srun read %% as one %; submitit and the tool get the folder as it is."""
    array = ("--trials", "3", "--out", "o-{trial}") if trials else ()
    planned_job = planned("--run-dir", str(tmp_path / "50% of"), *array, tool="evaluate" if trials else "pretrain")
    shown = launch._describe(snapshot.from_snapshot(planned_job))
    job = "%A_%a" if trials else "%j"
    assert f"#SBATCH --output='{tmp_path}/50%% of/jobs/{job}_0_log.out'" in shown
    assert f"'--output={tmp_path}/50%% of/jobs/JOB_%t_log.out'" in shown
    assert f"submitit.core._submit '{tmp_path}/50% of/jobs'" in shown


FAKE_SBATCH = """#!/bin/sh
env | grep '^SBATCH_' | sort > "$SEEN"
echo "Submitted batch job 4321"
"""


def test_sbatch_does_not_see_variables_of_options_that_are_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for sbatch tells what it was given; a real one would prefer the variable to the script."""
    for name, text in {"sbatch": FAKE_SBATCH, "srun": "", "scontrol": ""}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    for name in ("TIMELIMIT", "PARTITION", "ACCOUNT", "GRES", "EXPORT", "JOB_NAME", "OUTPUT"):
        monkeypatch.setenv(f"SBATCH_{name}", "from-the-shell")
    words = ["evaluate", "--run-dir", str(tmp_path / "run"), "--partition", "mine", "--gpus", "1"]
    launch.main([*words, "--dry-run", "knn"])
    shown = capsys.readouterr().out
    assert "heeds SBATCH_ACCOUNT=from-the-shell" in shown and "SBATCH_PARTITION" not in shown
    launch.main([*words, "knn"])
    assert (tmp_path / "seen").read_text().split() == ["SBATCH_ACCOUNT=from-the-shell", "SBATCH_EXPORT=from-the-shell"]
    assert os.environ["SBATCH_PARTITION"] == "from-the-shell"


def test_a_printed_command_can_be_pasted_whatever_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_DEBUG_FILE", "a b; $(touch pwned) 'c'")
    shown = launch._describe(snapshot.from_snapshot(planned("--run-dir", str(tmp_path / "a $(touch pwned) b"))))
    line = next(line for line in shown.splitlines() if line.startswith(("CUDA", "NCCL", "OMP", "LD_")))
    names = line.split(shlex.quote(sys.executable))[0]
    done = subprocess.run(["sh", "-c", f"{names} env"], cwd=tmp_path, capture_output=True, text=True)
    assert "NCCL_DEBUG_FILE=a b; $(touch pwned) 'c'" in done.stdout.splitlines()
    assert not (tmp_path / "pwned").exists()


# --- one reader ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"]])
@pytest.mark.parametrize("last", [True, False])
def test_the_configuration_may_stand_anywhere_and_names_the_job(form: list[str], last: bool, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("run_dir: ~/runs/b\noptim:\n  epochs: 7\n")
    named = [word.format(tmp_path / "mine.yaml") for word in form]
    words = ["optim.base_lr=0.5", *named] if last else [*named, "optim.base_lr=0.5"]
    launched = planned(*words)
    assert launched.request.name == "mine" and launched.run_dir == Path.home() / "runs/b"
    (shown,) = launched.shown
    assert f"run_dir: {Path.home()}/runs/b\n" in shown and "epochs: 7\n" in shown and "base_lr: 0.5\n" in shown


@pytest.mark.parametrize("tool", ["pretrain", "evaluate", "detection"])
def test_two_configurations_are_refused_by_the_launcher_as_by_the_tools(
    tool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        planned("--config", "a.yaml", "x=1", "--config=b.yaml", tool=tool)
    assert ended.value.code == 2 and "--config is given twice" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0123", "2024_05", "exp #2", "[a] b", "${USER}", "@x", "null", "a: b"])
def test_the_launcher_and_its_tool_mean_the_same_folder(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([f"run_dir={text}"], ["--run-dir", text]):
        launched = planned(*words)
        assert launched.run_dir == tmp_path / text
        (command,) = snapshot.from_snapshot(launched).commands
        (config,) = [given for name, given in snapshot.from_snapshot(launched).given.items() if name == "config.yaml"]
        (tmp_path / "config.yaml").write_text(config)
        assert Path(load(Config, tmp_path / "config.yaml").run_dir).resolve() == tmp_path / text
        assert command[-1].endswith("config.yaml")


def test_a_pipelines_texts_are_taken_to_the_letter_and_its_home_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = "variables: {out: ~/a, day: 2024_05, no: off}\nstages:\n"
    text += "  - {name: one, tool: prepare_data, args: ['synthetic ${out}/${day}', '${no}'], parallel: 1}\n"
    (tmp_path / "p.yaml").write_text(text)
    out, (stage,) = spec.read_pipeline(tmp_path / "p.yaml", ["no=exp #2"], "local")
    assert out == tmp_path / "a" and stage.commands[0].words[-2:] == (f"{tmp_path}/a/2024_05", "exp #2")
