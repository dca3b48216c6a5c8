"""What is kept when a run goes wrong, so that the step can be made again and looked at."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.augment.multicrop import Batch
from pretrain.engine import checkpoint
from pretrain.runtime import distributed
from pretrain.runtime.files import save_torch


def keep(run_dir: Path, step: int, batch: Batch, parts: Mapping[str, Any], config: Mapping[str, Any]) -> Path:
    """Keep the offending batch of every rank, the newest state from before it and the state at the alarm.

    Args:
        run_dir: the run folder.
        step: steps done; the last of them is the offending one.
        batch: the views of that step on this rank.
        parts: by name, what has a state dict, as after that step.
        config: the run's resolved configuration.

    Returns: RUN/alarm/step_XXXXXXXX with batch_rank_R.pth ({"step", "crops", "draws"}), before.pth and after.pth
        (checkpoints; no before.pth where the run had none yet: there the state is that of its seed).
    """
    folder = run_dir / "alarm" / f"step_{step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"step": step, "crops": batch.crops, "draws": batch.draws}
    save_torch(folder / f"batch_rank_{distributed.rank()}.pth", kept)
    if distributed.rank() == 0:
        earlier = [path for path in checkpoint.list_checkpoints(run_dir) if checkpoint.step_of(path) < step]
        if earlier:
            shutil.copyfile(earlier[-1], folder / "before.pth")
        checkpoint.write(folder / "after.pth", step, parts, config)
    return folder
