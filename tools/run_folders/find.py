"""Which folders are run folders, by what a pretraining leaves in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pretrain.engine.checkpoint import list_checkpoints
from pretrain.engine.history import FILE as HISTORY
from pretrain.runtime.errors import UserError

LOG, CONFIG, COMMAND, JOB = "metrics.jsonl", "config.yaml", "command.txt", "job.json"
OWN = {"checkpoints", "code", "export", "jobs", "tensorboard", "replay", "wandb"}  # folders of a run that hold no other


def is_run(folder: Path) -> bool:
    """Whether a pretraining has begun to write this folder, however far it came."""
    if any((folder / name).is_file() for name in (LOG, HISTORY)) or list_checkpoints(folder):
        return True
    return (folder / CONFIG).is_file() and (folder / COMMAND).is_file() or _is_pretraining(folder / JOB)


def _is_pretraining(job: Path) -> bool:
    """Whether the launcher has started one here, which may still wait in a queue."""
    try:
        written = json.loads(job.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(written, dict) and written.get("tool") == "pretrain"


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """The run folders among `folders` and below them, each once, by name; hidden folders are left out.

    Raises:
        UserError: one of `folders` is no folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give folders that hold runs.")
    return list(dict.fromkeys(run for folder in folders for run in _below(folder.resolve())))


def _below(top: Path) -> Iterator[Path]:
    for folder, below, _ in os.walk(top):
        found = is_run(Path(folder))
        left_out = OWN if found else set()
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in left_out)
        if found:
            yield Path(folder)


def bytes_of(folder: Path) -> int:
    """What all files below a folder take on disk; links are not followed, and a file of two names counts once."""
    seen, total = set(), 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.lstat(os.path.join(where, name))
            except OSError:  # it was removed meanwhile
                continue
            if (key := (stat.st_dev, stat.st_ino)) not in seen:
                seen.add(key)
                total += stat.st_blocks * 512
    return total
