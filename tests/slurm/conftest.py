"""A private SLURM of several nodes on this machine, started for the tests below this folder and ended after them.

Everything lies in one temporary folder and listens on ports of its own; no service of the machine is used or changed.
Needs root, Debian's slurm-wlm and munge, and a mounted /sys/fs/cgroup; where one is missing the tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NODES, CPUS = 8, 4
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
JobRequeue=1
ReturnToService=2
SlurmdTimeout=10
KillWait=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=15
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
"""
# Nodes are named by addresses of the loopback, so that a node's name resolves without touching /etc/hosts. Accounting
# is off, as on many clusters: then sacct answers nothing, which is the harder case. cred_expire shortens a requeue.


def _missing() -> str:
    """Why this machine cannot run the private SLURM, or nothing."""
    absent = [name for name in ("slurmctld", "slurmd", "munged", "mungekey", "sbatch") if not shutil.which(name)]
    if absent:
        return f"SLURM is not installed ({', '.join(absent)}): apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "slurmd has to be started by root"
    return "" if Path("/sys/fs/cgroup").is_mount() or any(Path("/sys/fs/cgroup").iterdir()) else "no /sys/fs/cgroup"


def _free_ports(count: int) -> int:
    """The first of `count` consecutive ports that nothing listens on; each worker of pytest-xdist has its own range."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for first in range(21_000 + worker % 5 * 2000, 31_000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


def _start(folder: Path) -> None:
    port = _free_ports(NODES + 1)
    (folder / "state").mkdir()
    nodes = []
    for i in range(1, NODES + 1):
        (folder / f"spool.127.0.0.{i}").mkdir()
        name = f"127.0.0.{i}"
        nodes.append(
            f"NodeName={name} NodeHostname=localhost NodeAddr={name} Port={port + i} CPUs={CPUS} RealMemory=4096"
        )
    text = CONFIGURATION.format(folder=folder, port=port, nodes="\n".join(nodes))
    (folder / "slurm.conf").write_text(text)
    subprocess.run(["mungekey", "-c", "-k", folder / "munge.key"], check=True)
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    subprocess.run(["munged", *(f"--{option}={folder}/munge.{end}" for option, end in names.items())], check=True)
    start_controller(folder)
    for i in range(1, NODES + 1):
        start_node(folder, f"127.0.0.{i}")
    for _ in range(900):
        asked = subprocess.run(["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"], capture_output=True, text=True)
        if len(set(asked.stdout.split())) == NODES:
            return
        time.sleep(0.1)
    raise RuntimeError(f"no SLURM after 90 s: {asked.stderr} {(folder / 'slurmctld.log').read_text()[-2000:]}")


def start_controller(folder: Path) -> None:
    subprocess.run(["slurmctld", "-f", folder / "slurm.conf"], check=True)


def start_node(folder: Path, name: str) -> None:
    subprocess.run(["slurmd", "-f", folder / "slurm.conf", "-N", name], check=True)


def _stop(folder: Path) -> None:
    """End the daemons by the process ids they wrote, and what they started by its SLURM_CONF."""
    subprocess.run(["scancel", "-u", "root"], capture_output=True, timeout=30)
    ids = [int(path.read_text()) for path in [*folder.glob("slurmd.*.pid"), *folder.glob("*.pid")] if path.is_file()]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in ids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in ids) and time.monotonic() < deadline:
            time.sleep(0.1)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            helper = (process / "comm").read_text().strip() in ("slurmstepd", "slurmscriptd")
            if helper and f"SLURM_CONF={folder}/slurm.conf".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """The private cluster; SLURM_CONF names its configuration, whose path is the value."""
    if reason := _missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # not pytest's own: a socket's path has at most 107 characters
    folder.chmod(0o755)  # munged insists that everybody can reach its socket
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        _start(folder)
        yield folder / "slurm.conf"
    finally:
        _stop(folder)
        del os.environ["SLURM_CONF"]
        if before is not None:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)
