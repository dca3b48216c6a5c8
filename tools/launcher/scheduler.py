"""What a scheduler says of one job: SLURM through scontrol (sacct needs accounting, which many clusters lack), or this
machine's processes."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
)
GONE = "GONE"  # the scheduler does not know the job; SLURM forgets one some minutes after its end
SILENT = "SILENT"  # the scheduler did not answer


class Seen(NamedTuple):
    """state: SLURM's own word (RUNNING for a job of this machine), or GONE or SILENT. nodes: as SLURM abbreviates."""

    state: str
    reason: str = ""
    nodes: str = ""
    restarts: int | None = None

    @property
    def alive(self) -> bool:
        """Whether the job may go on; no answer means yes."""
        return self.state not in (GONE, *ENDED)


def state_of(job_id: str) -> str:
    """SLURM's word for the state of the job `job_id`, whichever it is; empty where it does not answer."""
    asked = subprocess.run(["scontrol", "--oneliner", "show", "job", job_id], capture_output=True, text=True)
    found = re.search(r"(?:^|\s)JobState=(\S*)", asked.stdout)
    return found[1] if found else ""


def ask_slurm(job_id: str, logs: Path) -> Seen:
    """The job `job_id` that writes into `logs`; another one that got the same number is not it."""
    command = ["scontrol", "--oneliner", "show", "job", job_id]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Seen(SILENT, f"scontrol does not answer ({error})")
    if asked.returncode:
        told = " ".join((asked.stderr or asked.stdout).split())
        return Seen(GONE) if "Invalid job id" in told else Seen(SILENT, f"SLURM does not answer ({told})")
    if str(logs) not in asked.stdout:  # neither its batch script nor its output lies there: SLURM counts anew
        return Seen(GONE)
    fields = dict(re.findall(r"(?:^|\s)(JobState|Reason|Restarts|NodeList)=(\S*)", asked.stdout))
    told = {name: "" if value in ("None", "(null)") else value for name, value in fields.items()}
    return Seen(told["JobState"], told["Reason"], told["NodeList"], int(told["Restarts"]))


def ask_here(pid: str, logs: Path, host: str) -> Seen:
    """The job of this machine whose controlling process is `pid`, as long as that is the process that it was."""
    if host != socket.gethostname():
        return Seen(SILENT, f"it was started on {host}, which alone can tell", host)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except OSError:
        return Seen(GONE, nodes=host)
    return Seen("RUNNING" if words[-2:] == ["submitit.local._local", str(logs)] else GONE, nodes=host)
