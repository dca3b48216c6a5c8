"""What every rank of a job runs on its node: the tool, as a process of its own, with its place in the environment."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from pretrain.runtime.errors import BAD_INPUT, STOPPED, UserError
from pretrain.runtime.files import write_json
from tools.launcher import schedulers
from tools.launcher.request import Launch
from tools.launcher.schedulers.base import RankEnvironment
from tools.launcher.site.surroundings import runnable, tool_command
from tools.launcher.worker import exit_codes

PORTS = range(15_000, 30_000)  # below Linux's ephemeral ports, so that no outgoing connection holds one
REMIND = 3.0  # seconds between requests to stop: a tool that is still importing does not hear the first


@dataclass(frozen=True)
class RankTask:
    """What every rank runs: the command that a user would type, in a process of its own.

    Of its own, because then this light process outlives whatever happens to the tool. It sees a kill, a segmentation
    fault or exit code 2 and writes it down, which nothing else would where the scheduler keeps no accounts. It answers
    signals at once while the tool sits in a collective. And the tool's handlers of signals meet no others.
    """

    command: tuple[str, ...]
    folder: str
    environment: dict[str, str]
    cluster: str
    logs: str

    def __call__(self) -> None:
        """Run to the end, write how it ended, and exit with its code."""
        scheduler = schedulers.find_scheduler(self.cluster)
        place = scheduler.rank_environment()
        if scheduler.about.here:  # no daemon ends what a job leaves behind
            _end_with_parent(signal.SIGTERM)
        try:
            command = runnable(self.command)
            code = _run(command, self.folder, {**os.environ, **self.environment, **rendezvous(place)})
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            code = BAD_INPUT
        ended = exit_codes.Exit(place.rank, socket.gethostname(), 128 - code if code < 0 else code, time.time())
        exit_codes.write_exit(Path(self.logs), place.job_id, ended)
        # A failure makes the scheduler end the other ranks; one that stopped as it was asked to lets them do the same.
        sys.exit(0 if ended.code == STOPPED else ended.code)


def tasks_of(launch: Launch) -> list[RankTask]:
    """The task of each job of a launch."""
    folder, environment, cluster = launch.folder, launch.environment, launch.cluster
    setup = schedulers.find_scheduler(cluster).about.here  # elsewhere the script of the job begins with it
    commands = [tool_command(launch, command, setup) for command in launch.commands]
    return [RankTask(command, folder, environment, cluster, str(launch.logs)) for command in commands]


def rank_words(task: RankTask, file: Path) -> list[str]:
    """Write a task into `file`; the words of the command that every rank of it runs, whatever starts them."""
    write_json(file, asdict(task))
    return [sys.executable, "-u", "-m", "tools.launcher.worker.rank", str(file)]


def main(argv: list[str]) -> None:
    """Run the task in the file argv[0] as the rank that the environment says."""
    written = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    RankTask(**written | {"command": tuple(written["command"])})()


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
    """In the tool's process, before it starts: die with this one, and ignore SIGUSR2 until the tool listens.

    A scheduler may send SIGUSR2 to every process of a job, and by default a process dies of it.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    _end_with_parent(signal.SIGKILL)


def _end_with_parent(number: signal.Signals) -> None:
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, number)


def rendezvous(place: RankEnvironment) -> dict[str, str]:
    """RANK and the rest of torch's env:// rendezvous, and gloo's network.

    CUDA_VISIBLE_DEVICES is left alone: use cuda:LOCAL_RANK. The port depends on the job and on `place.start`, so that
    no start ever meets the store of an earlier one.
    """
    master = "127.0.0.1" if place.nodes == 1 else _reachable(place.first_node)
    key = f"{place.job_id}/{place.start}"
    return {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.ranks),
        "LOCAL_RANK": str(place.local_rank),
        "MASTER_ADDR": master,
        "MASTER_PORT": str(PORTS[zlib.crc32(key.encode()) % len(PORTS)]),
        **_gloo(master, place.nodes),
    }


def _gloo(master: str, nodes: int) -> dict[str, str]:
    """Which network gloo is to use: the one that leads to the first node, unless the user has chosen.

    By itself gloo takes the address of the machine's own name, which on many is one of the loopback (Debian's
    127.0.1.1), and then ranks on different nodes never find each other.
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


def _reachable(names: Sequence[str]) -> str:
    """The first of the first node's names and addresses that this node can resolve."""
    for name in names:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(name, None)
            return name
    sys.exit(f"error: {socket.gethostname()} cannot resolve '{names[0]}', the job's first node.")


if __name__ == "__main__":
    main(sys.argv[1:])
