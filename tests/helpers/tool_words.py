"""Commands of the tools that begin from a checkpoint and that several processes can run, on the smallest data."""

from __future__ import annotations

import sys
from pathlib import Path

from helpers.detection_samples import C4, tiny, write_sets
from helpers.painted import paint_both
from helpers.repository import ROOT
from helpers.tiny_runs import RESNET18, command, write_images

TOOLS = ("pretrain", "evaluate", "embed", "train_detection")


def furnish(folder: Path) -> Path:
    """The folder, with images/, colours/ that holds train/ and val/, and sets/ of detection."""
    (folder / "images").mkdir()
    write_images(folder / "images")
    paint_both(folder / "colours", train=3, val=2)
    write_sets(folder / "sets")
    return folder


def words(tool: str, place: Path, out: Path, name: str) -> list[str]:
    """The command of a tool that begins from these weights; `place` is as `furnish` leaves it."""
    script = [sys.executable, str(ROOT / "tools" / f"{tool}.py")]
    rows = ["image_size=16", "batch_size=4", "workers=0", "threads=1", "device=cpu", f"cache={out}/cache"]
    if tool == "pretrain":
        more = [RESNET18, "optim.epochs=1", "optim.warmup_epochs=0", "run.trackers=[]", f"model.init={name}"]
        return command(place / "images", out / "run", *more)
    if tool == "evaluate":
        where = ["--data", str(place / "colours"), "--out", str(out / "knn.json")]
        return [*script, "knn", "--checkpoint", name, *where, *rows]
    if tool == "embed":
        return [*script, "--checkpoint", name, "--data", str(place / "images"), "--out", str(out / "rows.npy"), *rows]
    given = ["--config", str(C4), "--out", str(out / "detector"), "--visualise", "0"]
    return [*script, *given, *tiny(C4, place / "sets", name, "SOLVER.MAX_ITER=1")]
