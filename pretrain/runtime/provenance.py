"""Where a number comes from: the code's commit, the command and the hardware."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from pretrain.runtime.repository import BUILT, COMMAND, HOME, REPOSITORY
from pretrain.runtime.urls import hide

SNAPSHOT = "snapshot.json"  # beside the packages of a copy that the launcher made for one job


def commit() -> str | None:
    """Git SHA of this code, with '-dirty' where tracked files differ from it; None where git does not track this file.

    Of a copy made for a job, or of a wheel, that of the checkout it was made from. A copy installed into the
    environment of somebody else's project lies in a checkout too, but not in ours.
    """
    for record in (REPOSITORY / SNAPSHOT, HOME / BUILT):
        if record.is_file():
            recorded: str | None = json.loads(record.read_text(encoding="utf-8"))["commit"]
            return recorded
    return _git(REPOSITORY, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") if _tracked() else None


def uncommitted() -> str:
    """What the working tree's tracked files differ in from their commit, as a patch; empty without git."""
    return (_git(REPOSITORY, "diff", "HEAD") or "") if _tracked() else ""


def _tracked() -> bool:
    file = Path(__file__).resolve()
    return _git(file.parent, "ls-files", "--error-unmatch", file.name) is not None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        told = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def command() -> str:
    """The command line of this process as it could be typed again, its commit, folder and hardware, a line each."""
    typed = as_typed()
    return f"{typed}\ncommit {commit()}\ndirectory {os.getcwd()}\nhardware {hardware()}\n"


def as_typed() -> str:
    """The command line of this process, without what is secret in its URLs."""
    program, *arguments = sys.argv
    started = program.split(" ") if program.startswith(f"{COMMAND} ") else [sys.executable, hide(program)]
    return shlex.join([*started, *map(hide, arguments)])


def hardware() -> str:
    """The accelerator's name and its arithmetic in fp32, or the processor's architecture and core count."""
    import torch

    from pretrain.runtime.devices.device import arithmetic

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, {arithmetic()}"
    return f"CPU {platform.machine()}, {os.cpu_count()} cores"
