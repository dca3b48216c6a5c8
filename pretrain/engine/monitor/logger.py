"""What a run reports: metrics.jsonl, trackers, a progress bar or log lines, and the alarm."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pretrain.config import Run
from pretrain.data.loader import StepSampler
from pretrain.engine.monitor.metrics_file import FILE, forget_after, seconds_left
from pretrain.engine.monitor.tracking import Tracking, ended_by
from pretrain.engine.position import Position
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

RUNNING = "linear_running_top1"  # of quality/linear.py
SAME_ROW = 0.95  # mean cosine of negative pairs above which every image has nearly the same row
FEWEST_DIRECTIONS = 2.5  # effective rank below which the features no longer tell images apart


class Alarm(UserError):
    """A run that should not continue. step: steps done, the last of which is the offending one."""

    def __init__(self, sentence: str, step: int) -> None:
        super().__init__(sentence)
        self.step = step


def _raise_if_not_finite(own: dict[str, list[float]], means: dict[str, list[float]], before: int) -> None:
    """Raise the alarm, and name the ranks where it began if that is not all of them.

    Args:
        own: values of each step of a window on this rank, by name.
        means: their means over ranks; all ranks have the same.
        before: steps done before the window.
    """
    lost = {name: place for name, column in means.items() if (place := _first_lost(column)) is not None}
    if not lost:
        return
    here = [name for name in lost if _first_lost(own[name]) == min(lost.values())]
    on = distributed.gathered(here)  # by rank, what was lost at the first step
    most = max(len(names) for names in on)
    ranks = [str(rank) for rank, names in enumerate(on) if len(names) == most]
    where = f" (first on rank {', '.join(ranks)})" if len(ranks) < len(on) else ""
    step = before + min(lost.values()) + 1
    raise Alarm(
        f"training stopped: {' and '.join(lost)} is not finite from step {step} on{where}; lower optim.base_lr or use "
        "run.precision=fp32, then start again: it resumes from the newest checkpoint.",
        step,
    )


def _first_lost(column: list[float]) -> int | None:
    """Place of the first value that is not finite."""
    return next((place for place, value in enumerate(column) if not math.isfinite(value)), None)


@dataclass(frozen=True)
class Length:
    """Of a run: steps done before this process, of the whole run and of an epoch; images of a step on all ranks.

    shift: how many more steps are done than the epochs have by now, after a change of the batch size or the set.
    seen: images of all steps before this process.
    """

    start: int
    steps: int
    steps_per_epoch: int
    images_per_step: int
    shift: int = 0
    seen: int = 0

    @staticmethod
    def of(position: Position, sampler: StepSampler) -> Length:
        """Of a run that goes on from `position` with the steps of `sampler`."""
        shift = position.step - position.place(sampler)
        per_epoch, batch = sampler.steps_per_epoch, sampler.batch_size
        return Length(position.step, sampler.steps + shift, per_epoch, batch, shift, position.seen)

    def epoch(self, step: int) -> float:
        """Passes over the images after `step` steps."""
        return (step - self.shift) / self.steps_per_epoch

    def images(self, step: int) -> int:
        """Images of the first `step` steps."""
        return self.seen + (step - self.start) * self.images_per_step


class Monitor:
    """Rank 0 writes; the other ranks only watch for values that are not finite.

    Args:
        settings: how often to log and to measure, and whether collapse raises the alarm.
        run_dir: gets metrics.jsonl, one JSON object a line.
        device: of the values.
        length: of the run.
        tracking: the trackers, which get every line; closed with the monitor.
    """

    def __init__(
        self, settings: Run, run_dir: Path, device: torch.device, length: Length, tracking: Tracking | None = None
    ) -> None:
        self.settings, self.run_dir, self.device, self.length = settings, run_dir, device, length
        self.tracking = tracking or Tracking()
        self.measure_every = max(1, round(settings.measure_every_epochs * length.steps_per_epoch))
        self.writes = distributed.rank() == 0
        self.unreadable: set[str] = set()
        self.window: dict[str, list[torch.Tensor]] = {}
        self.waited, self.since = 0.0, time.perf_counter()

    def __enter__(self) -> Monitor:
        if self.writes:
            path = self.run_dir / FILE
            self.tracking.begin(path, self.length.start)
            forget_after(path, self.length.start)
            self.lines = open(path, "a", encoding="utf-8")
            self.bar = tqdm(
                total=self.length.steps, initial=self.length.start, unit="step", disable=not sys.stderr.isatty()
            )
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self.writes:
            self.lines.close()
            self.bar.close()
            self._hand_over()
            self.tracking.close(ended_by(error))

    def _hand_over(self) -> None:
        """What the trackers get at the end of every start beside the lines."""
        for name in ("config.yaml", "command.txt", *(("export/trunk.pth",) if self.settings.tracker_weights else ())):
            self.tracking.artefact(self.run_dir / name)

    def state(self) -> list[dict[str, Any]]:
        """For every rank, the values since the last line of metrics and the files that could not be read.

        It goes into the checkpoint. A resumed run then writes the same next line as an uninterrupted one.
        """
        values = {name: torch.stack(column).cpu() for name, column in self.window.items()}
        return distributed.gathered({"values": values, "unreadable": sorted(self.unreadable)})

    def load(self, states: list[dict[str, Any]]) -> None:
        """Take over the `state` of an earlier run; where the number of ranks has changed, the mean over its ranks."""
        same = len(states) == distributed.world_size()
        own = [states[distributed.rank()]] if same else states
        for name in own[0]["values"]:
            columns = torch.stack([state["values"][name] for state in own])
            self.window[name] = list(columns.mean(0).to(self.device))
        if same or self.writes:
            self.unreadable.update(*(state["unreadable"] for state in own))

    def tell(self, sentence: str) -> None:
        """Print one line, if there is one, on rank 0 without breaking the progress bar."""
        if self.writes and sentence:
            tqdm.write(sentence, file=sys.stdout)
            sys.stdout.flush()

    def timed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield each of `batches`, and add up the time spent waiting for them."""
        batches = iter(batches)
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - before
            if batch is None:
                return
            yield batch

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time spent inside out of images/s and of the data wait."""
        before = time.perf_counter()
        yield
        self.since += time.perf_counter() - before

    def skipped(self, unreadable: list[str]) -> None:
        """Count files that could not be read and name each of them once."""
        for name in set(unreadable) - self.unreadable:
            self.unreadable.add(name)
            print(f"skipped an unreadable image: {name}", file=sys.stderr, flush=True)

    def measures(self, step: int) -> bool:
        """Whether the measurements that wait for the device are taken after `step` steps."""
        return (step - self.length.shift) % self.measure_every == 0 or step == self.length.steps

    def logs(self, step: int) -> bool:
        """Whether a line is written after `step` steps; readings are taken only then."""
        return step % self.settings.log_every == 0 or self.measures(step)

    def step(
        self,
        step: int,
        values: dict[str, torch.Tensor],
        settings: dict[str, float],
        readings: dict[str, torch.Tensor | float],
    ) -> dict[str, float] | None:
        """Add one step's device scalars; where `logs` says so, read them all at once, write them and raise the alarm.

        Args:
            step: steps done so far.
            values: scalars on the device, averaged over the window and over ranks.
            settings: the lr and the like, as they now are.
            readings: measurements that cost too much for every step, equal on all ranks or rank 0's; given where a line
                is due.

        Returns: the line of metrics where one is due, in which only rank 0 has what rank 0 alone measures.

        Raises:
            Alarm: a value is not finite, or the features have collapsed.
        """
        for name, value in values.items():
            self.window.setdefault(name, []).append(value.detach())
        if self.writes:
            self.bar.update()
        return self._log(step, settings, readings) if self.logs(step) else None

    def _log(
        self, step: int, settings: dict[str, float], readings: dict[str, torch.Tensor | float]
    ) -> dict[str, float]:
        table = torch.stack([torch.stack(column) for column in self.window.values()])
        own, columns = (
            dict(zip(self.window, each.tolist(), strict=True)) for each in (table, distributed.all_mean(table))
        )
        self.window, steps = {}, table.shape[1]
        means = {name: sum(column) / steps for name, column in columns.items()}
        skipped = (
            distributed.all_mean(torch.tensor(float(len(self.unreadable)), device=self.device))
            * distributed.world_size()
        )
        elapsed = time.perf_counter() - self.since
        line = {
            "step": step,
            "steps": self.length.steps,
            "batch_size": self.length.images_per_step,
            "epoch": round(self.length.epoch(step), 4),
            "images": self.length.images(step),
            **settings,
            **means,
            **{name: float(reading) for name, reading in readings.items()},
            "images_per_second": round(steps * self.length.images_per_step / elapsed, 2),
            "data_wait": round(self.waited / elapsed, 4),
            "images_skipped": round(skipped.item()),
            "time": round(time.time(), 3),
        }
        self.waited, self.since = 0.0, time.perf_counter()
        self._write(line)
        _raise_if_not_finite(own, columns, step - steps)
        if self.writes:
            self._show(line)
        self._collapse(line)
        return line

    def _collapse(self, line: dict[str, float]) -> None:
        """Raise the alarm where all images get nearly the same row, or the rows span very few directions."""
        alike = line["negative_cosine"] > SAME_ROW
        if not alike and not line.get("effective_rank", math.inf) < FEWEST_DIRECTIONS:
            return
        sign = (
            f"different images have a mean cosine of {line['negative_cosine']:.4f}"
            if alike
            else f"the rows have an effective rank of {line['effective_rank']:.2f}"
        )
        sentence = (
            f"the features collapsed at step {line['step']}: {sign}; check method.balance (too small or, above the "
            "width, too large), lower optim.base_lr, or go on regardless with run.stop_on_collapse=false."
        )
        if self.settings.stop_on_collapse:
            raise Alarm(sentence, int(line["step"]))
        self.tell(f"warning: {sentence}")

    def _write(self, line: dict[str, float]) -> None:
        if self.writes:
            self.lines.write(json.dumps(line) + "\n")
            self.lines.flush()
            self.tracking.line(line)

    def _show(self, line: dict[str, float]) -> None:
        learnt = f"linear top-1 {line[RUNNING]:.1f} %  " if RUNNING in line else ""
        text = (
            f"epoch {line['epoch']:.2f}  cosine of positive pairs {line['positive_cosine']:.3f}, of negative "
            f"{line['negative_cosine']:.3f}  {learnt}lr {line['lr']:.4f}  {line['images_per_second']:.1f} images/s  "
            f"data wait {line['data_wait']:.0%}  ETA {timedelta(seconds=round(seconds_left(line)))}"
        )
        if self.bar.disable:
            self.tell(f"step {line['step']}/{self.length.steps}  {text}")
        else:
            self.bar.set_postfix_str(text)
