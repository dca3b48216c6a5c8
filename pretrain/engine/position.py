"""Where a run stands among its images, so that it goes on there with another batch size, or with a set that has grown.

The optimiser's steps only number checkpoints and lines of metrics. What a run has done is counted in images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pretrain.data.loader import StepSampler
from pretrain.engine.monitor.metrics_file import last_line

NAME = "position"  # of this in a checkpoint


@dataclass(frozen=True)
class Position:
    """Where a run stands, and what that was counted with.

    step: steps of the optimiser since the run's beginning. epoch: passes that are complete. images: those that the
    running pass has seen, in its order. seen: images of all steps together. size: images of the set; batch: of a step.
    """

    step: int
    epoch: int
    images: int
    seen: int
    size: int
    batch: int

    def stored(self) -> dict[str, int]:
        """As a checkpoint holds it."""
        return asdict(self)

    def place(self, sampler: StepSampler) -> int:
        """How many steps of `sampler` come before this position; those left are the run's remaining ones.

        In the same set the images of the running epoch stay where they were. A remainder that does not fill a batch is
        seen again, or is dropped at the end of the epoch. In another set the order is another one, and the epoch goes
        on at the same share of it.
        """
        per_epoch, batch = sampler.steps_per_epoch, sampler.batch_size
        if self.size == sampler.images:
            within = min(self.images // batch, per_epoch)
        else:
            within = self.images * per_epoch // (self.size // self.batch * self.batch)
        return self.epoch * per_epoch + within

    def remarks(self, sampler: StepSampler) -> list[str]:
        """What has to be said of going on from here with `sampler`."""
        said = []
        if self.size != sampler.images:
            order = f"; the rest of epoch {self.epoch + 1} has another order" if self.images else ""
            said.append(f"{sampler.images} images instead of {self.size}{order}")
        elif again := self.images % sampler.batch_size:
            said.append(f"epoch {self.epoch + 1} goes on in batches of {sampler.batch_size}: {again} images come again")
        return said

    def after(self, place: int, start: int, sampler: StepSampler) -> Position:
        """The position once the steps of `sampler` from `start`, where this one was, to `place` are done."""
        epoch, within = divmod(place, sampler.steps_per_epoch)
        batch, steps = sampler.batch_size, place - start
        return Position(
            step=self.step + steps,
            epoch=epoch,
            images=within * batch,
            seen=self.seen + steps * batch,
            size=sampler.images,
            batch=batch,
        )


def beginning(sampler: StepSampler) -> Position:
    """Before the first step."""
    return Position(0, 0, 0, 0, sampler.images, sampler.batch_size)


def position_in(state: Mapping[str, Any], run_dir: Path, sampler: StepSampler) -> Position:
    """The position that a checkpoint holds.

    Earlier code wrote steps only. They are turned into images by the batch size in the checkpoint and by the steps of
    an epoch, which the last line of metrics tells; the set is taken to be today's where its epochs have as many steps.
    """
    if isinstance(held := state.get(NAME), Mapping):
        return Position(step=state["step"], **{name: held[name] for name in held if name != "step"})
    step, batch, epochs = state["step"], *(state["config"]["optim"][name] for name in ("batch_size", "epochs"))
    line = last_line(run_dir) or {}
    whole = int(line.get("steps", 0))
    per_epoch = whole // epochs if whole and whole % epochs == 0 else max(1, sampler.images // batch)
    size = sampler.images if sampler.images // batch == per_epoch else per_epoch * batch
    epoch, within = divmod(step, per_epoch)
    return Position(step, epoch, within * batch, step * batch, size, batch)
