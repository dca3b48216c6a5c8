"""Exports that stay: one every so many epochs, and the best by a metric that is measured along the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from pretrain import config
from pretrain.engine import records
from pretrain.engine.learner import Learner
from pretrain.engine.position import Position
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import load_torch
from pretrain.runtime.processes.watch import writing_fault

BEST = "best.pth"


class Keeper:
    """Writes RUN/export/epoch_XXXX.pth and RUN/export/best.pth, which no later checkpoint takes away.

    Each is whole before the checkpoint of its step. So a run that was killed in between makes it again. What is the
    best so far is what best.pth says: a run that goes on knows it, whatever checkpoint it goes on
    from.
    """

    def __init__(self, cfg: config.Config, learner: Learner) -> None:
        self.cfg, self.learner = cfg, learner
        self.best: float | None = None  # the metric of best.pth, once it was looked for

    def keep(self, position: Position, epoch: float, line: Mapping[str, float] | None) -> str:
        """Export what stays of this step; a sentence where it is the best so far, else "".

        Args:
            position: where the run stands.
            epoch: passes over the images by then.
            line: of metrics, on every rank where this step was measured; None elsewhere.

        Raises:
            UserError: the export cannot be written.
        """
        every, metric = self.cfg.run.keep_every_epochs, self.cfg.run.keep_best
        if every and position.images == 0 and position.epoch % every == 0:
            name = f"epoch_{position.epoch:04d}.pth"
            distributed.on_rank_0(lambda: self._export(name, position, epoch))
        if metric is None or line is None:
            return ""
        return distributed.on_rank_0(lambda: self._keep_best(metric, line.get(metric, math.nan), position, epoch))

    def _keep_best(self, metric: str, value: float, position: Position, epoch: float) -> str:
        if self.best is None:
            self.best = best_so_far(Path(self.cfg.run_dir), metric)
        if not value > self.best:  # nor where it is not a number
            return ""
        self._export(BEST, position, epoch, best_by=metric, best=value)
        self.best = value
        return f"the best {metric} so far: {value:.4g} after epoch {epoch:g}, kept in export/{BEST}"

    def _export(self, name: str, position: Position, epoch: float, **notes: str | float) -> None:
        try:
            records.export(self.cfg, self.learner, name, position, epoch, **notes)
        except (OSError, RuntimeError) as error:
            reason = writing_fault(error)
            raise UserError(
                f"export/{name} could not be written to {self.cfg.run_dir} ({reason}): free some space or mend the "
                "folder, then start again; the run goes on from its newest checkpoint."
            ) from error


def best_so_far(run_dir: Path, metric: str) -> float:
    """The metric of RUN/export/best.pth; -inf where there is none, it is damaged, or was the best by another metric."""
    path = run_dir / "export" / BEST
    try:
        meta = load_torch(path)["meta"] if path.is_file() else {}
        return float(meta["best"]) if meta.get("best_by") == metric else -math.inf
    except (UserError, LookupError, TypeError, ValueError, AttributeError):
        return -math.inf
