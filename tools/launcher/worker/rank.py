"""What every rank of a job runs on its node: the tool, in a process of its own that is told its place."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from pretrain.runtime.errors import STOPPED
from tools.launcher.worker import exit_codes

if TYPE_CHECKING:
    import submitit

PORTS = range(15_000, 30_000)  # below Linux's ephemeral ports, so that no outgoing connection holds one
REMIND = (
    3.0  # seconds after which a request to stop is repeated: a tool that is still importing does not hear the first
)


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
        if not _on_slurm():
            _end_with_parent(signal.SIGTERM)  # the controller, whose other ways of ending all reach us by a signal
        code = _run(self.command, self.folder, {**os.environ, **self.environment, **rendezvous(job)})
        ended = exit_codes.Exit(job.global_rank, socket.gethostname(), 128 - code if code < 0 else code, time.time())
        exit_codes.write(job.paths.folder, job.job_id, ended)
        # A bad one makes srun end the other ranks; one that stopped as it was asked to lets them do the same.
        sys.exit(0 if ended.code == STOPPED else ended.code)


def _on_slurm() -> bool:
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"


def _run(command: tuple[str, ...], folder: str, environment: dict[str, str]) -> int:
    """Run to the end, handing signals on; exit code, negative for a signal. Leaves no process behind."""
    process = subprocess.Popen(command, cwd=folder, env=environment, preexec_fn=_inherit)
    over = threading.Event()
    signal.signal(signal.SIGTERM, _once(lambda: process.send_signal(signal.SIGTERM)))
    signal.signal(signal.SIGUSR2, _once(threading.Thread(target=_remind, args=(process, over), daemon=True).start))
    try:
        return process.wait()
    finally:
        over.set()


def _remind(process: subprocess.Popen[bytes], over: threading.Event) -> None:
    while not over.is_set():
        process.send_signal(signal.SIGUSR2)
        over.wait(REMIND)


def _once(act: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
    """A handler that acts on the first signal; those after it could only disturb a tool that is leaving."""
    left = [act]
    return lambda _, __: left.pop()() if left else None


def _inherit() -> None:
    """In the tool's process, before it starts: die with the task, and be deaf to SIGUSR2 until the tool listens.

    SLURM sends SIGUSR2 to every process of a step, and its default is to die.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    _end_with_parent(signal.SIGKILL)


def _end_with_parent(number: signal.Signals) -> None:
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, number)


def rendezvous(job: submitit.JobEnvironment) -> dict[str, str]:
    """RANK and the rest of torch's env:// rendezvous, and gloo's network.

    CUDA_VISIBLE_DEVICES is left alone: use cuda:LOCAL_RANK.

    The port depends on the job, on how often SLURM restarted it and on the step within it, so that no start ever meets
    the store of an earlier one.
    """
    master = "127.0.0.1" if job.num_nodes == 1 else _reachable(job.hostnames[0])
    starts = [os.environ.get(name, "0") for name in ("SLURM_RESTART_COUNT", "SLURM_STEP_ID")]
    key = "/".join([job.job_id, *starts])
    return {
        "RANK": str(job.global_rank),
        "WORLD_SIZE": str(job.num_tasks),
        "LOCAL_RANK": str(job.local_rank),
        "MASTER_ADDR": master,
        "MASTER_PORT": str(PORTS[zlib.crc32(key.encode()) % len(PORTS)]),
        **_gloo(master, job.num_nodes),
    }


def _gloo(master: str, nodes: int) -> dict[str, str]:
    """Which network gloo is to use: the one that leads to the first node, unless the user has chosen.

    By itself gloo takes the address of the machine's own name, which on many is one of the loopback (Debian's
    127.0.1.1), and then ranks on other nodes wait for each other in vain.
    """
    name = None if nodes == 1 or "GLOO_SOCKET_IFNAME" in os.environ else interface_towards(master)
    return {"GLOO_SOCKET_IFNAME": name} if name else {}


def interface_towards(host: str) -> str | None:
    """The network interface with the IPv4 address from which `host` is reached; None where there is none."""
    get_address = 0x8915  # SIOCGIFADDR of Linux
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 1))  # a datagram socket sends nothing by this
        except OSError:
            return None
        own = socket.inet_aton(probe.getsockname()[0])
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # one without an IPv4 address
                asked = struct.pack("256s", name.encode())
                if fcntl.ioctl(probe, get_address, asked)[20:24] == own:
                    return name
    return None


def _reachable(name: str) -> str:
    """The first node's name if this node can resolve it, otherwise the address that SLURM gives for it."""
    try:
        socket.getaddrinfo(name, None)
        return name
    except OSError as error:
        if "SLURM_LAUNCH_NODE_IPADDR" in os.environ:
            return os.environ["SLURM_LAUNCH_NODE_IPADDR"]
        sys.exit(f"error: {socket.gethostname()} cannot resolve '{name}', the job's first node ({error}).")
