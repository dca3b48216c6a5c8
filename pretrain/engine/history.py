"""What a run folder says of itself: config.yaml and command.txt as the run is now, history.jsonl as it came to that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pretrain import config
from pretrain.engine.position import Position
from pretrain.engine.resume import Change
from pretrain.runtime import provenance
from pretrain.runtime.files import write_text

FILE = "history.jsonl"


def open_history(cfg: config.Config) -> None:
    """Write what identifies a run that begins."""
    _write_now(cfg)
    _write([_entry(0, 0, [])], Path(cfg.run_dir))


def go_on(cfg: config.Config, position: Position, changed: Sequence[Change]) -> None:
    """Write down that a run goes on; where options have changed, config.yaml and command.txt are written anew.

    Args:
        cfg: as the run goes on.
        position: from where.
        changed: options whose values were others until there.
    """
    run_dir = Path(cfg.run_dir)
    entries = read_history(run_dir)
    if changed:
        _write_now(cfg)
    _write([*entries, _entry(position.step, position.seen, changed)], run_dir)


def read_history(run_dir: Path) -> list[dict[str, Any]]:
    """Every start of a run, the oldest first: step, images, time, command, commit, changed ({option: [old, new]}).

    Of a run that began under earlier code, the first start is what command.txt tells.
    """
    path = run_dir / FILE
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [entry for entry in map(_parsed, lines) if entry]
    command = run_dir / "command.txt"
    if not command.is_file():
        return []
    typed, *rest = command.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    commit = next((line.removeprefix("commit ") for line in rest if line.startswith("commit ")), None)
    when = datetime.fromtimestamp(command.stat().st_mtime, timezone.utc)
    return [
        {
            "step": 0,
            "images": 0,
            "time": f"{when:%Y-%m-%dT%H:%M:%SZ}",
            "command": typed,
            "commit": commit,
            "changed": {},
        }
    ]


def _parsed(line: str) -> dict[str, Any]:
    """A line of the history; empty for one that is damaged, which keeps no run from going on."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _write_now(cfg: config.Config) -> None:
    run_dir = Path(cfg.run_dir)
    write_text(run_dir / "config.yaml", config.dump(cfg))
    write_text(run_dir / "command.txt", provenance.command())


def _entry(step: int, images: int, changed: Sequence[Change]) -> dict[str, Any]:
    return {
        "step": step,
        "images": images,
        "time": _written(datetime.now(timezone.utc)),
        "command": provenance.as_typed(),
        "commit": provenance.commit(),
        "changed": {one.option.name: [one.old, one.new] for one in changed},
    }


def _write(entries: Sequence[dict[str, Any]], run_dir: Path) -> None:
    write_text(run_dir / FILE, "".join(json.dumps(entry) + "\n" for entry in entries))
