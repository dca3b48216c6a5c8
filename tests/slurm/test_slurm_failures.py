"""Everything that ends a job on a cluster, done to a real run on a real SLURM: nothing is lost, to the last bit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import start_controller, start_node

from helpers import launched, tiny_runs
from pretrain.engine.metrics_file import last_line
from tools.launcher import job_record
from tools.launcher.job_record import JobRecord

# 40 steps; a line every 3 and a checkpoint every 4, so that nearly every interruption falls between two of them
WORDS = [
    "optim.epochs=20",
    "optim.warmup_epochs=1",
    "run.log_every=3",
    "run.checkpoint_every_epochs=2",
    "run.threads=1",
]
WORDS += [
    "method.name=moco",
    "method.queue_size=16",
    "method.temperature=0.2",
    "run.stop_on_collapse=false",
]  # a queue is the easiest state to forget
CONFIG = "configs/pretrain/demo.yaml"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_runs.write_images(tmp_path_factory.mktemp("images"))


def _launch(images: Path, run_dir: Path, *options: str, words: tuple[str, ...] = ()) -> JobRecord:
    arguments = [*tiny_runs.TINY, *WORDS, f"data.root={images}", *words]
    resources = ["--nodes", "2", "--gpus", "0", "--time", "20m", "--config", str(tiny_runs.ROOT / CONFIG)]
    done = launched.run("--run-dir", run_dir, *resources, *options, *arguments)
    assert done.returncode == 0, done.stderr
    return job_record.read_record(run_dir)


def _step(run_dir: Path) -> int:
    return int((last_line(run_dir) or {"step": 0})["step"])


@pytest.fixture(scope="module")
def whole(slurm: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, never interrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    record = _launch(images, run_dir)
    _complete(record)
    return run_dir


def _complete(record: JobRecord) -> None:
    launched.until(lambda: launched.status.job_state(record).over, 240)
    assert str(launched.status.job_state(record)) == "completed", record.log(0).read_text()[-3000:]


def _processes(words: str, environment: str) -> list[int]:
    """Processes whose command line has `words` and whose environment has `environment`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if words in line and environment.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def _tool(record: JobRecord, rank: int) -> int:
    """The process of a rank's tool, not one of its data workers."""
    return min(_processes(f"{record.launch.code}/tools/pretrain.py", f"RANK={rank}"))


def _task(record: JobRecord, rank: int) -> int:
    """The process of a rank that srun started, whose child the tool is."""
    return min(_processes(f"submitit.core._submit {record.logs}", f"SLURM_PROCID={rank}"))


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True)


def _warn(record: JobRecord, slurm: Path) -> None:
    subprocess.run(["scancel", "--signal=USR2", record.job_id], check=True)


def _shorten(record: JobRecord, slurm: Path) -> None:
    """The time limit, so that SLURM's warning is due; a rank is held meanwhile: SLURM looks twice a minute only."""
    task, tool = _task(record, 1), _tool(record, 1)
    os.kill(tool, signal.SIGSTOP)
    before = _threads(task)
    _scontrol("update", f"JobId={record.job_id}", "TimeLimit=2")
    launched.until(lambda: _threads(task) > before, 120)  # one that reminds the tool has been started
    os.kill(tool, signal.SIGCONT)
    launched.until(lambda: launched.told(record.run_dir)["restarts"] == 1)
    _scontrol("update", f"JobId={record.job_id}", "TimeLimit=20")


def _preempt(record: JobRecord, slurm: Path) -> None:
    """Another job of a higher partition needs the nodes for a moment."""
    _scontrol("reconfigure")
    nodes = record.ask().nodes
    asked = ["sbatch", "--partition=high", f"--nodelist={nodes}", "--nodes=2", "--exclusive", "--output=/dev/null"]
    subprocess.run([*asked, "--wrap=sleep 1"], check=True, capture_output=True)


def _requeue(record: JobRecord, slurm: Path) -> None:
    _scontrol("requeue", record.job_id)


def _down(record: JobRecord, slurm: Path) -> None:
    _scontrol("update", "nodename=127.0.0.2", "state=down", "reason=test")
    launched.until(lambda: launched.told(record.run_dir)["restarts"] == 1)
    # the node comes back by itself, since its daemon answers (ReturnToService)


def _lose(record: JobRecord, slurm: Path) -> None:
    """Everything that SLURM runs on a node, as if its power had failed."""
    daemon = int((slurm.parent / "slurmd.127.0.0.2.pid").read_text())
    ours = _processes("", "SLURMD_NODENAME=127.0.0.2")
    steps = [pid for pid in _processes("slurmstepd", f"SLURM_CONF={slurm}") if _is_of(pid, ours)]
    for pid in [daemon, *steps, *ours]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    launched.until(lambda: launched.told(record.run_dir)["restarts"] == 1, 90)
    start_node(slurm.parent, "127.0.0.2")


def _is_of(stepd: int, tasks: list[int]) -> bool:
    children = Path(f"/proc/{stepd}/task").glob("*/children")
    with contextlib.suppress(OSError):
        return any(int(pid) in tasks for path in children for pid in path.read_text().split())
    return False


def _kill(rank: int) -> Callable[[JobRecord, Path], None]:
    return lambda record, slurm: os.kill(_tool(record, rank), signal.SIGKILL)


def _kill_task(record: JobRecord, slurm: Path) -> None:
    """What srun started on the second node; its tool dies with it."""
    os.kill(_task(record, 1), signal.SIGKILL)


def _restart_controller(record: JobRecord, slurm: Path) -> None:
    os.kill(int((slurm.parent / "slurmctld.pid").read_text()), signal.SIGKILL)
    told = launched.told(record.run_dir)
    assert told["state"] == "unknown" and "SLURM does not answer" in told["why"]
    start_controller(slurm.parent)


@contextlib.contextmanager
def _setting(slurm: Path, line: str) -> Iterator[None]:
    before = slurm.read_text()
    slurm.write_text(f"{line}\n{before}" if line else before)
    _scontrol("reconfigure")
    yield
    slurm.write_text(before)
    _scontrol("reconfigure")


INTERRUPTIONS = {  # what happens, to a job in which partition, under which setting, and who starts it again
    "warning": (_warn, "main", "", "slurm"),
    "time limit": (_shorten, "main", "", "slurm"),
    "pre-emption": (_preempt, "low", "", "slurm"),
    "pre-emption with a warning": (_preempt, "low", "SlurmctldParameters=preempt_send_user_signal", "slurm"),
    "scontrol requeue": (_requeue, "main", "", "slurm"),
    "node down": (_down, "main", "", "slurm"),
    "node lost": (_lose, "main", "", "both"),  # srun may miss its rank before SLURM misses the node
    "rank 0 killed": (_kill(0), "main", "", "launcher"),
    "rank 1 killed": (_kill(1), "main", "", "launcher"),
    "task killed": (_kill_task, "main", "", "launcher"),
    "controller restarted": (_restart_controller, "main", "", "nobody"),
}


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_a_run_goes_on_bit_for_bit_after(name: str, slurm: Path, images: Path, whole: Path, tmp_path: Path) -> None:
    interrupt, partition, setting, again = INTERRUPTIONS[name]
    run_dir = tmp_path / "run"
    with _setting(slurm, setting):
        record = _launch(images, run_dir, "--partition", partition, "--slurm", "nodelist=127.0.0.[1-2]")
        launched.until(lambda: _step(run_dir) >= 6, 120)
        interrupted = time.time()
        interrupt(record, slurm)
        _complete(record)
    tiny_runs.assert_same_run(whole, run_dir)
    told = launched.told(run_dir)
    restarts, retries = {"slurm": (1, 0), "launcher": (0, 1), "nobody": (0, 0), "both": (1, told["retries"])}[again]
    assert (told["restarts"] or 0, told["retries"]) == (restarts, retries)
    said = record.log(0).read_text()
    steps = [int(line.rsplit("_", 1)[1].removesuffix(".pth")) for line in said.splitlines() if "resumed from" in line]
    print(
        f"\n{name}: on after {_recovered(run_dir, interrupted):.0f} s, from step {steps}, load {os.getloadavg()[0]:.1f}"
    )


def _recovered(run_dir: Path, interrupted: float) -> float:
    """Seconds from the interruption to the first line of metrics after the run went on."""
    times = [json.loads(line)["time"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    return times[gaps.index(max(gaps)) + 1] - interrupted


def test_a_second_launch_into_the_folder_of_a_live_job_is_refused(slurm: Path, images: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    record = _launch(images, run_dir, "--slurm", "hold")
    before = (run_dir / "job.json").read_bytes()
    words = ["--run-dir", run_dir, "--nodes", "2", "--gpus", "0", f"data.root={images}", *tiny_runs.TINY]
    for _ in range(2):
        refused = launched.run(*words)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert f"job {record.job_id} (slurm) is pending: JobHeldUser in {run_dir}" in refused.stderr
        assert f"cancel {run_dir}" in refused.stderr and (run_dir / "job.json").read_bytes() == before
    assert launched.run("cancel", run_dir).returncode == 0


def test_a_shared_folder_that_cannot_be_written_is_told_and_loses_nothing(
    slurm: Path, images: Path, whole: Path, tmp_path: Path
) -> None:
    """Before a launch, and under a run."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with _read_only(run_dir):
        refused = launched.run("--run-dir", run_dir, "--gpus", "0", f"data.root={images}")
    assert refused.returncode == 2 and "cannot be written (Read-only file system)" in refused.stderr
    record = _launch(images, run_dir)
    launched.until(lambda: bool(list((run_dir / "checkpoints").glob("step_*.pth"))), 120)
    with _read_only(run_dir / "checkpoints"):
        launched.until(lambda: launched.status.job_state(record).over, 120)
    failed = launched.told(run_dir)
    assert failed["state"] == "failed" and failed["retries"] == 0
    assert "could not be written" in failed["why"] and "the newest is" in failed["why"]
    assert launched.run("resume", run_dir).returncode == 0
    _complete(job_record.read_record(run_dir))
    tiny_runs.assert_same_run(whole, run_dir)


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a folder")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
