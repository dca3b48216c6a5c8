"""Everything that ends a job on a cluster, done to a real run on a real SLURM: nothing is lost, to the last bit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import start_controller, start_node

from helpers import launched, stored, tiny_runs
from helpers.web import Web, serving
from pretrain.engine.monitor.metrics_file import last_line
from tools.launcher import job_record
from tools.launcher.job_record import JobRecord

# 60 steps; a line every 3 and a checkpoint every 4, so that nearly every interruption falls between two of them
WORDS = [
    "optim.epochs=30",
    "optim.warmup_epochs=1",
    "run.log_every=3",
    "run.checkpoint_every_epochs=2",
    "run.threads=1",
    "data.url_cache_gib=0",
]
WORDS += [
    "method.name=moco",
    "method.rho=null",  # which the configuration sets for UniGrad
    "method.queue_size=16",
    "method.temperature=0.2",
    "run.stop_on_collapse=false",
]  # a queue is the easiest state to forget
CONFIG = "configs/pretrain/demo.yaml"
PAUSE = 0.1  # seconds before an image is there, four of which a rank needs for a step


class Images:
    """A server of the images, which can keep a run waiting, so that it is met in the middle by every interruption."""

    def __init__(self, web: Web) -> None:
        self.web, self.root = web, web.url("images.tar")

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        """While the block lasts: seconds of a run, but none of a processor."""
        self.web.pause = PAUSE
        try:
            yield
        finally:
            self.web.pause = 0.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    folder = tmp_path_factory.mktemp("images")
    written = {path.name: path.read_bytes() for path in tiny_runs.write_images(folder).iterdir()}
    with serving() as web, pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        web.files["images.tar"] = stored.tar(folder / "images.tar", written).read_bytes()
        yield Images(web)


def _launch(images: Images, run_dir: Path, *options: str) -> JobRecord:
    arguments = [*tiny_runs.TINY, *WORDS, f"data.root={images.root}"]
    resources = ["--nodes", "2", "--gpus", "0", "--time", "20m", "--config", str(tiny_runs.ROOT / CONFIG)]
    done = launched.run("--run-dir", run_dir, *resources, *options, *arguments)
    assert done.returncode == 0, done.stderr
    return job_record.read_record(run_dir)


def _step(run_dir: Path) -> int:
    return int((last_line(run_dir) or {"step": 0})["step"])


@pytest.fixture(scope="module")
def whole(slurm: Path, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, never interrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    record = _launch(images, run_dir)
    _complete(record)
    return run_dir


def _complete(record: JobRecord) -> None:
    launched.until(lambda: launched.status.job_state(record).over, 900)
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
    threads, (restarts, _) = _threads(task), _again(record)
    _scontrol("update", f"JobId={record.job_id}", "TimeLimit=2")
    launched.until(lambda: _threads(task) > threads, 120)  # one that reminds the tool has been started
    os.kill(tool, signal.SIGCONT)
    launched.until(lambda: _again(record)[0] > restarts)
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
    restarts, _ = _again(record)
    _scontrol("update", "nodename=127.0.0.2", "state=down", "reason=test")
    launched.until(lambda: _again(record)[0] > restarts)
    # the node comes back by itself, since its daemon answers (ReturnToService)


def _lose(record: JobRecord, slurm: Path) -> None:
    """Everything that SLURM runs on a node, as if its power had failed."""
    restarts, _ = _again(record)
    daemon = int((slurm.parent / "slurmd.127.0.0.2.pid").read_text())
    ours = _processes("", "SLURMD_NODENAME=127.0.0.2")
    steps = [pid for pid in _processes("slurmstepd", f"SLURM_CONF={slurm}") if _is_of(pid, ours)]
    for pid in [daemon, *steps, *ours]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    launched.until(lambda: _again(record)[0] > restarts, 90)
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


INTERRUPTIONS = {  # what happens, and who starts the run again
    "warning": (_warn, "slurm"),
    "time limit": (_shorten, "slurm"),
    "pre-emption": (_preempt, "slurm"),
    "scontrol requeue": (_requeue, "slurm"),
    "node down": (_down, "slurm"),
    "node lost": (_lose, "both"),  # srun may miss its rank before SLURM misses the node
    "rank 0 killed": (_kill(0), "launcher"),
    "rank 1 killed": (_kill(1), "launcher"),
    "task killed": (_kill_task, "launcher"),
    "controller restarted": (_restart_controller, "nobody"),
}
WITH_A_WARNING = "SlurmctldParameters=preempt_send_user_signal"
RUNS = {  # a run's partition, SLURM's setting, and what happens to it, one after the other
    "announced stops": ("low", "", ("warning", "scontrol requeue", "pre-emption")),
    "announced pre-emption": ("low", WITH_A_WARNING, ("pre-emption",)),
    "lost nodes": ("main", "", ("time limit", "node down", "node lost")),
    "crashes": ("main", "", ("rank 0 killed", "rank 1 killed", "task killed", "controller restarted")),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_run_goes_on_bit_for_bit_after(run: str, slurm: Path, images: Images, whole: Path, tmp_path: Path) -> None:
    (partition, setting, names), run_dir = RUNS[run], tmp_path / "run"
    with _setting(slurm, setting):
        with images.slow():
            options = ["--partition", partition, "--slurm", "nodelist=127.0.0.[1-2]", "--retries", "6"]
            record = _launch(images, run_dir, *options)
            launched.until(lambda: _step(run_dir) >= 6, 240)
            for name in names:
                seconds = _interrupt(name, record, slurm)
                print(f"\n{name}: on after {seconds:.0f} s, at step {_step(run_dir)}, load {os.getloadavg()[0]:.1f}")
        _complete(record)
    tiny_runs.assert_same_run(whole, run_dir)


def _interrupt(name: str, record: JobRecord, slurm: Path) -> float:
    """Seconds until the next line of metrics after the run went on, started again by the one who should."""
    interrupt, starter = INTERRUPTIONS[name]
    before, starts, begun = _again(record), _resumed(record), time.time()
    interrupt(record, slurm)
    launched.until(lambda: starter == "nobody" or _resumed(record) > starts, 240)
    going_on = time.time()
    launched.until(lambda: (last_line(record.run_dir) or {"time": 0})["time"] > going_on, 240)
    restarts, retries = (now - then for now, then in zip(_again(record), before, strict=True))
    expected = {"slurm": (1, 0), "launcher": (0, 1), "nobody": (0, 0), "both": (1, retries)}[starter]
    assert (restarts, retries) == expected
    return time.time() - begun


def _resumed(record: JobRecord) -> int:
    """How often the run has gone on from a checkpoint."""
    log = record.log(0)
    return log.read_text().count("resumed from") if log.is_file() else 0


def _again(record: JobRecord) -> tuple[int, int]:
    """How often the scheduler restarted the job, and how often the launcher its ranks."""
    return launched.status.job_state(record).restarts or 0, len(launched.status.retried(record))


def test_a_second_launch_into_the_folder_of_a_live_job_is_refused(slurm: Path, images: Images, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    record = _launch(images, run_dir, "--slurm", "hold")
    before = (run_dir / "job.json").read_bytes()
    words = ["--run-dir", run_dir, "--nodes", "2", "--gpus", "0", f"data.root={images.root}", *tiny_runs.TINY]
    for _ in range(2):
        refused = launched.run(*words)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert f"job {record.job_id} (slurm) is pending: JobHeldUser in {run_dir}" in refused.stderr
        assert f"cancel {run_dir}" in refused.stderr and (run_dir / "job.json").read_bytes() == before
    assert launched.run("cancel", run_dir).returncode == 0


def test_a_shared_folder_that_cannot_be_written_is_told_and_loses_nothing(
    slurm: Path, images: Images, whole: Path, tmp_path: Path
) -> None:
    """Before a launch, and under a run."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with _read_only(run_dir):
        refused = launched.run("--run-dir", run_dir, "--gpus", "0", f"data.root={images.root}")
    assert refused.returncode == 2 and "cannot be written (Read-only file system)" in refused.stderr
    with images.slow():
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
