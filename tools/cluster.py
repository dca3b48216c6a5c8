"""What submitit is asked to do, on SLURM or on this machine: resources, the task of a rank, submitting, waiting."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.errors import UserError
from pretrain.files import write_json
from tools import scheduler

if TYPE_CHECKING:
    import submitit

REPOSITORY = Path(__file__).resolve().parents[1]
SIGNAL_DELAY = 120  # seconds between SLURM's warning and the end of the time limit
PAUSE = {"slurm": 2.0, "local": 0.2}  # seconds between two looks at a job
PATIENCE = 10.0  # seconds after the end of a job until a shared folder shows its last files
PORTS = range(15_000, 30_000)  # below Linux's ephemeral ports, so that no outgoing connection holds one


@dataclass(frozen=True)
class Request:
    """Resources of one job. tasks and gpus count per node, cpus per task; options and extra are sbatch's own."""

    name: str
    nodes: int = 1
    tasks: int = 1
    gpus: int = 0
    cpus: int = 1
    minutes: int = 60
    options: dict[str, str] = field(default_factory=dict)  # partition, account, qos, constraint, exclude
    extra: dict[str, str | bool] = field(default_factory=dict)

    @property
    def ranks(self) -> int:
        return self.nodes * self.tasks


@dataclass(frozen=True)
class Exit:
    """How the command of one rank ended. code: 0 to 255 as a shell tells it (128 + number for a signal)."""

    rank: int
    host: str
    code: int
    time: float


@dataclass(frozen=True)
class Task:
    """What every rank runs: the command that a user would type, in a process of its own.

    Of its own, because then the light process that submitit starts outlives whatever happens to the tool: it sees a
    kill, a segmentation fault or exit code 2 and writes it down (without SLURM accounting nothing else would), it
    answers signals at once while the tool sits in a collective, and the tool's handlers and submitit's never mix.
    """

    command: tuple[str, ...]
    folder: str
    environment: dict[str, str]

    def __call__(self) -> None:
        import submitit

        job = submitit.JobEnvironment()
        file = _exit_file(job.paths.folder, job.job_id, job.global_rank)
        file.unlink(missing_ok=True)  # of an earlier start of a requeued job
        code = _run(self.command, self.folder, {**os.environ, **self.environment, **rendezvous(job)})
        ended = Exit(job.global_rank, socket.gethostname(), 128 - code if code < 0 else code, time.time())
        write_json(file, asdict(ended))
        sys.exit(ended.code)  # a bad one makes srun end the other ranks


def _run(command: tuple[str, ...], folder: str, environment: dict[str, str]) -> int:
    """Run to the end, handing SIGTERM and SIGINT on; exit code, negative for a signal. Leaves no process behind."""
    process = subprocess.Popen(command, cwd=folder, env=environment, preexec_fn=_inherit)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: process.send_signal(number))
    try:
        return process.wait()
    finally:  # also when submitit's handler of SIGUSR2 leaves through an exception
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _inherit() -> None:
    """In the tool's process, before it starts: die with the task, and leave SLURM's warning signal to the task."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM sends it to every process of a step; its default is to die
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def rendezvous(job: submitit.JobEnvironment) -> dict[str, str]:
    """RANK and the rest of torch's env:// rendezvous. CUDA_VISIBLE_DEVICES is left alone: use cuda:LOCAL_RANK.

    The port depends on the job and on how often it was restarted, so that a requeued job never meets its old store.
    """
    key = f"{job.job_id}/{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    return {
        "RANK": str(job.global_rank),
        "WORLD_SIZE": str(job.num_tasks),
        "LOCAL_RANK": str(job.local_rank),
        "MASTER_ADDR": "127.0.0.1" if job.num_nodes == 1 else _reachable(job.hostnames[0]),
        "MASTER_PORT": str(PORTS[zlib.crc32(key.encode()) % len(PORTS)]),
    }


def _reachable(name: str) -> str:
    """The first node's name if this node can resolve it, otherwise the address that SLURM gives for it."""
    try:
        socket.getaddrinfo(name, None)
        return name
    except OSError as error:
        if "SLURM_LAUNCH_NODE_IPADDR" in os.environ:
            return os.environ["SLURM_LAUNCH_NODE_IPADDR"]
        sys.exit(f"error: {socket.gethostname()} cannot resolve '{name}', the job's first node ({error}).")


def slurm_parameters(request: Request) -> dict[str, Any]:
    """`request` in the words of submitit's sbatch text."""
    gpus = {"gpus_per_node": request.gpus} if request.gpus else {}
    return {
        "job_name": request.name,
        "time": request.minutes,
        "nodes": request.nodes,
        "ntasks_per_node": request.tasks,
        "cpus_per_task": request.cpus,
        **gpus,
        **request.options,
        "signal_delay_s": SIGNAL_DELAY,
        "stderr_to_stdout": True,
        # One dead rank must end the others, which would wait for it in a collective until the time limit; and since
        # SLURM 22.05 srun no longer takes the CPUs of a task from sbatch.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={request.cpus}"],
        "additional_parameters": request.extra,
    }


def _python() -> str:
    """The interpreter as a shell command that finds this repository, from whatever folder."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    return f"env {shlex.quote(f'PYTHONPATH={path}')} {shlex.quote(sys.executable)}"


def sbatch_text(request: Request, logs: Path) -> str:
    """The batch script that `submit` would hand to sbatch; needs no SLURM."""
    from submitit.slurm import slurm

    command = f"{_python()} -u -m submitit.core._submit {shlex.quote(str(logs))}"
    return slurm._make_sbatch_string(command=command, folder=logs, **slurm_parameters(request))


def require_slurm() -> None:
    """Raises UserError where there is no SLURM to submit to."""
    if missing := [name for name in ("sbatch", "srun", "scontrol") if shutil.which(name) is None]:
        raise UserError(
            f"this machine has no SLURM ({', '.join(missing)} not in PATH): log in where jobs are submitted, or add "
            "`--cluster local` to run here."
        )


def submit(cluster: str, request: Request, task: Task, logs: Path) -> submitit.Job:
    """Start `task` on every rank of `request`, through SLURM (`slurm`) or as processes of this machine (`local`).

    Raises:
        UserError: SLURM refuses the job.
    """
    from submitit import LocalExecutor, SlurmExecutor
    from submitit.core.utils import FailedJobError

    logs.mkdir(parents=True, exist_ok=True)
    if cluster == "local":
        executor = LocalExecutor(logs, python=_python())
        executor.update_parameters(
            tasks_per_node=request.tasks,
            gpus_per_node=request.gpus,
            timeout_min=request.minutes,
            signal_delay_s=SIGNAL_DELAY,
            stderr_to_stdout=True,
        )
        return executor.submit(task)
    executor = SlurmExecutor(logs, python=_python())
    executor.update_parameters(**slurm_parameters(request))
    try:
        with _outside_of_any_job():
            return executor.submit(task)
    except FailedJobError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"SLURM refused the job ({reason}): mend that, or add `--cluster local` to run here."
        ) from error


@contextlib.contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Hide a surrounding job's variables, which sbatch would take for wishes; SLURM_CONF only says where SLURM is."""
    hidden = {}
    if "SLURM_JOB_ID" in os.environ:
        names = [
            name for name in os.environ if name.startswith(("SLURM_", "SLURMD_", "SRUN_")) and name != "SLURM_CONF"
        ]
        hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


def log_file(logs: Path, job_id: str, rank: int | str) -> Path:
    """Where submitit puts the output of one rank."""
    return logs / f"{job_id}_{rank}_log.out"


def _exit_file(logs: Path, job_id: str, rank: int) -> Path:
    return logs / f"{job_id}_{rank}_exit.json"


def wait(job: submitit.Job, cluster: str, ranks: int, logs: Path) -> dict[int, Exit]:
    """Print what rank 0 says until the job ends, and return how each rank that told it ended.

    On this machine a rank that fails ends the others, as srun's --kill-on-bad-exit does; leaving this function by an
    exception (Ctrl-C, SIGTERM) ends them too. A job of SLURM goes on without us.
    """
    follow = follow_log(log_file(logs, job.job_id, 0))
    exits: dict[int, Exit] = {}
    try:
        while not job.done() if cluster == "local" else scheduler.ask_slurm(job.job_id, logs).alive:
            next(follow)
            exits |= read_exits(logs, job.job_id, ranks)
            if cluster == "local" and any(ended.code for ended in exits.values()):
                end_here(int(job.job_id), job.done)
            time.sleep(PAUSE[cluster])
    finally:
        if cluster == "local":
            end_here(int(job.job_id), job.done)
    exits = settled_exits(logs, job.job_id, ranks, 0 if cluster == "local" else PATIENCE)
    next(follow)
    return exits


def settled_exits(logs: Path, job_id: str, ranks: int, patience: float) -> dict[int, Exit]:
    """How the ranks of a job that is over ended; waits `patience` seconds at most for those that have not told yet."""
    deadline = time.monotonic() + patience
    while len(exits := read_exits(logs, job_id, ranks)) < ranks and time.monotonic() < deadline:
        time.sleep(1)
    return exits


def end_here(pid: int, over: Callable[[], bool]) -> None:
    """End a job of this machine by its controlling process: ask every rank by SIGTERM, after ten seconds kill them."""
    for _ in range(10):
        if over():
            return
        _send(pid, signal.SIGTERM)  # submitit's controller hands it on to those it has started by now
        for _ in range(10):
            time.sleep(0.1)
            if over():
                return
    _send(pid, signal.SIGINT)  # on which submitit's controller kills them


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended in between
        os.kill(pid, number)


def read_exits(logs: Path, job_id: str, ranks: int) -> dict[int, Exit]:
    """How each rank that told it ended."""
    paths = [_exit_file(logs, job_id, rank) for rank in range(ranks)]
    return {rank: Exit(**json.loads(path.read_text())) for rank, path in enumerate(paths) if path.is_file()}


def follow_log(path: Path) -> Iterator[None]:
    """Each `next` prints the lines that were written to `path` since the last; it need not be there yet."""
    position = 0
    while True:
        if path.is_file():
            with open(path, "rb") as handle:
                handle.seek(position)
                new = handle.read()
            whole = new.rpartition(b"\n")[0]
            if whole:
                position += len(whole) + 1
                show_log(whole)
        yield


def show_log(text: bytes) -> None:
    """Print a part of a log without submitit's own remarks."""
    said = [line for line in text.decode(errors="replace").split("\n") if not line.startswith("submitit ")]
    print(*said, sep="\n", end="\n" if said else "", flush=True)


def failure(exits: dict[int, Exit], job_id: str, ranks: int, logs: Path) -> tuple[int, str] | None:
    """Exit code and one sentence about the rank that failed first, or None where every rank ended well."""
    bad = sorted((ended for ended in exits.values() if ended.code), key=lambda ended: ended.time)
    silent = [rank for rank in range(ranks) if rank not in exits]
    if not bad and not silent:
        return None
    rank, code = (bad[0].rank, bad[0].code) if bad else (silent[0], 1)
    host = f" on {bad[0].host}" if bad else ""
    what = f"ended with exit code {code}{_signal_name(code)}" if bad else "ended without telling its exit code"
    log = log_file(logs, job_id, rank)
    said = [line for line in _last_lines(log, 20) if not line.startswith(("submitit ", "srun:", "slurmstepd:"))]
    quote = f", last words: {said[-1].strip()}" if said else ""
    return code, f"rank {rank} of {ranks}{host} {what}; its log: {log}{quote}"


def _signal_name(code: int) -> str:
    number = code - 128
    return f" ({signal.Signals(number).name})" if number in signal.valid_signals() else ""


def _last_lines(path: Path, count: int) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:]
