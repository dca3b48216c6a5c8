"""Pretraining, in the order in which it happens: what is checked, loaded, trained and written; step.py is one step."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from pretrain import config
from pretrain.augment import photometry
from pretrain.augment.multicrop import Batch
from pretrain.data.loader import StepSampler, collate
from pretrain.data.site.staging import scratch_folder, staged
from pretrain.data.sources import ImageSource, Reading, open_source
from pretrain.engine import checkpoint, history, records, replay, resume
from pretrain.engine.learner import Learner, build, fill_balance, parts_of
from pretrain.engine.loading import check_room, foreseen, make_loader, on_device, patience_of
from pretrain.engine.monitor import diagnostics
from pretrain.engine.monitor.logger import Alarm, Length, Monitor
from pretrain.engine.monitor.pictures import draw_views
from pretrain.engine.monitor.tracking import VIEWS, Tracking, trackers_of
from pretrain.engine.peak_memory import with_parts
from pretrain.engine.position import Position, beginning, position_in
from pretrain.engine.quality.kept import Keeper
from pretrain.engine.quality.linear import classes_of
from pretrain.engine.quality.norms import norms
from pretrain.engine.statistics import measured
from pretrain.engine.validate import ready
from pretrain.engine.warm_start.origin import agreed, pinned
from pretrain.engine.warm_start.origin import read as read_origin
from pretrain.engine.warm_start.take import Start
from pretrain.runtime import distributed
from pretrain.runtime.devices import device_memory
from pretrain.runtime.devices.compile import FOLDER, keep_compiled
from pretrain.runtime.errors import Lost, Stopped, UserError
from pretrain.runtime.lock import lock_run_folder
from pretrain.runtime.printable import say
from pretrain.runtime.processes.signals import Stopping, Wish
from pretrain.runtime.processes.watch import GOES_ON, deaths_told, watched
from pretrain.step import Stepped, mixed, step

EARLIER = 1.0  # minutes
FEW = 64  # images of a process at once, below which its GPU may wait for the host


Probe = Callable[[nn.Module], dict[str, float]]


def train(cfg: config.Config, probe: Probe | None = None) -> Path:
    """Pretrain a trunk as `cfg` says, or go on where an earlier run in the same run_dir stopped.

    Args: probe, measures the trunk every run.measure_every_epochs, on rank 0; its readings join the metrics.

    SIGUSR2, SIGTERM or Ctrl-C ends the run after its step, with a checkpoint from which the same command goes on.

    Returns: RUN/export/trunk.pth. Beside it stands initial.pth, the same network before the first step; where that has
    started from weights (model.init), random.pth is the same network without them.

    Raises:
        UserError: anything in `cfg`, the images or an existing run folder that cannot work, before the first step; or
            memory that has run out, a worker or another rank that is gone.
        Stopped: a signal asked for it.
    """
    device = ready(cfg)
    if cfg.method.library:
        raise UserError(
            f"method.library={cfg.method.library} is for tools/pretrain.py, which trains peers: leave it out."
        )
    cfg = fill_balance(cfg)
    cfg = pinned(cfg)
    origin = read_origin(cfg, _say)
    source = _images(cfg)
    classes = classes_of(cfg, source)
    with Wish().listening() as wish, contextlib.ExitStack() as stack:
        _join(cfg, device, stack)
        tracking = trackers_of(cfg)
        cfg = measured(cfg, source)
        cfg = with_parts(cfg, device)
        sampler = _sampler(cfg, source)
        _say(source.about)
        check_room(cfg, getattr(probe, "room", 0))
        keep_compiled(Path(cfg.run_dir, FOLDER))
        stack.enter_context(device_memory.shortage_told(device, _smaller(cfg)))
        learner = build(cfg, device, classes, agreed(origin, cfg, _say))
        del origin  # as large as the network
        run(cfg, source, sampler, learner, wish, probe, tracking)
    return Path(cfg.run_dir) / "export" / "trunk.pth"


def _images(cfg: config.Config) -> ImageSource:
    """The images of data.root, read from the disk of this node where data.scratch asks for it."""
    source = open_source(cfg.data.root, cfg.data.class_depth, reading=Reading.of(cfg.data))
    source = dataclasses.replace(source, bits=cfg.data.bits)
    scratch = scratch_folder(cfg.data.scratch)
    return staged(source, scratch, say) if scratch else source


def _join(cfg: config.Config, device: torch.device, stack: contextlib.ExitStack) -> None:
    """Join the other ranks and, on rank 0, hold the run folder, until `stack` is closed; tell where one is lost."""
    stack.enter_context(distributed.departure_told())
    # a rank without images ends in a sentence before the others are tired of it
    distributed.start(device, cfg.run.timeout_minutes + EARLIER)
    stack.callback(distributed.stop)
    distributed.on_rank_0(lambda: stack.enter_context(lock_run_folder(Path(cfg.run_dir), _say)))


def run(
    cfg: config.Config,
    source: ImageSource,
    sampler: StepSampler,
    learner: Learner,
    wish: Wish,
    probe: Probe | None = None,
    tracking: Tracking | None = None,
) -> None:
    """All steps from the newest checkpoint on, with what is written along the way.

    Args:
        cfg: the run's options.
        source: the images of all ranks.
        sampler: which images each remaining step takes; its `start` is set here.
        learner: what is trained; a checkpoint is loaded into it.
        wish: whether somebody asked the run to stop.
        probe: measures the trunk on rank 0 where a line is logged; None for no such measurement.
        tracking: the trackers that are told of it.
    """
    before, begun = _begin(cfg, learner, sampler)
    sampler.start = place = begun.place(sampler)
    if place >= sampler.steps:
        return _nothing_left(cfg, learner, sampler, begun)
    run_dir, length = Path(cfg.run_dir), Length.of(begun, sampler)
    _say(_greeting(cfg, len(source), length, learner.device))
    loader = make_loader(cfg, source, sampler, learner.device)
    stopping, keeper = Stopping(wish), Keeper(cfg, learner)
    with Monitor(cfg.run, run_dir, learner.device, length, tracking) as monitor, deaths_told(patience_of(cfg)):
        if before:
            monitor.load(before["monitor"])
        batches = _batches(cfg, loader, learner, monitor, wish)
        for done, batch in enumerate(batches, place + 1):  # of the sampler's steps
            number = done + length.shift
            stepped = step(learner, batch, done - 1, sampler.steps)
            with _kept_for_replay(cfg, learner, loader, sampler, done - 1):
                line = _log(monitor, learner, number, stepped, probe)
            now = begun.after(done, place, sampler)
            monitor.tell(keeper.keep(now, length.epoch(number), line if monitor.measures(number) else None))
            leave = stopping.agreed()
            if leave or records.due(cfg.run, sampler, done):
                records.save(cfg, learner, monitor, now)
            if leave and done < sampler.steps:
                raise _farewell(wish, run_dir, number, length.steps)
        stopping.finish()


def _batches(
    cfg: config.Config, loader: DataLoader[Any], learner: Learner, monitor: Monitor, wish: Wish
) -> Iterator[Batch]:
    """The batches of a run on its device; their unreadable images are counted, and the views of step 1 are drawn."""
    awaited = foreseen(watched(loader, patience_of(cfg)), wish)
    for number, batch in enumerate(monitor.timed(on_device(awaited, learner.device)), monitor.length.start + 1):
        monitor.skipped(batch.unreadable)
        if number == 1 and distributed.rank() == 0:
            _show_views(Path(cfg.run_dir), learner, batch, monitor.tracking)
        yield batch


def _show_views(run_dir: Path, learner: Learner, batch: Batch, tracking: Tracking) -> None:
    """Draw views of the first batch as the network gets them, and tell the trackers of the picture."""
    views = draw_views(run_dir / VIEWS, *mixed(learner, photometry.pictures(batch), 0))
    tracking.images(1, {views.stem: views})


def _sampler(cfg: config.Config, source: ImageSource) -> StepSampler:
    """Which images this rank takes, step by step.

    Raises:
        UserError: the batch does not split evenly over ranks and their parts.
    """
    rank, ranks = distributed.rank(), distributed.world_size()
    if cfg.optim.batch_size % (ranks * parts_of(cfg)):
        raise UserError(
            f"optim.batch_size={cfg.optim.batch_size} does not split into optim.accumulate={cfg.optim.accumulate} "
            f"equal parts on each of {ranks} processes: choose a multiple of their product."
        )
    passes = (cfg.optim.batch_size, cfg.optim.epochs, cfg.run.seed)
    return StepSampler(len(source), *passes, rank, ranks, source.mixture)


def _smaller(cfg: config.Config) -> str:
    """What makes a step take less memory."""
    images = cfg.optim.batch_size // distributed.world_size()
    return (
        f"raise optim.accumulate={cfg.optim.accumulate}, which passes the {images} images of a process in more parts, "
        f"or lower optim.batch_size={cfg.optim.batch_size}; {GOES_ON}"
    )


def _greeting(cfg: config.Config, images: int, length: Length, device: torch.device) -> str:
    return (
        f"{cfg.method.name}: {images} images, {length.steps} steps of {cfg.optim.batch_size}, from step "
        f"{length.start}, on {distributed.world_size()} x {device}; balance {cfg.method.balance}, "
        f"width {cfg.model.projector_width}" + _slow_launches(cfg, device)
    )


def _slow_launches(cfg: config.Config, device: torch.device) -> str:
    """What a GPU with few images could gain from CUDA graphs, or "" (docs/scaling.md has the times)."""
    images = cfg.optim.batch_size // distributed.world_size() // parts_of(cfg)
    if device.type != "cuda" or cfg.run.cuda_graphs or cfg.run.compile is False or images > FEW:
        return ""
    return f"; with {images} images at once the GPU may wait for the host: try run.cuda_graphs=true"


def _log(
    monitor: Monitor, learner: Learner, done: int, stepped: Stepped, probe: Probe | None
) -> dict[str, float] | None:
    """Hand the values of a step to the monitor, with further readings where it writes a line, which is returned."""
    readings = {}
    if monitor.logs(done):
        with monitor.paused():
            readings = read(learner, stepped, monitor.measures(done), probe)
    return monitor.step(done, stepped.values, stepped.settings, readings)


def _begin(cfg: config.Config, learner: Learner, sampler: StepSampler) -> tuple[dict[str, Any] | None, Position]:
    """What the newest checkpoint holds, its state loaded, and where the run stands; written down in the run folder."""
    run_dir = Path(cfg.run_dir)
    resumed = resume.resume(run_dir, learner.parts(), ["monitor"], cfg, _say)
    if resumed is None:
        if learner.start:
            _say(Start(**learner.start).line())
        records.open_run(cfg, learner)
        return None, beginning(sampler)
    learner.start = resumed.state.get(records.START, {})
    position = position_in(resumed.state, run_dir, sampler)
    for remark in position.remarks(sampler):
        _say(f"note: {remark}")
    if (ranks := len(resumed.state["monitor"])) != distributed.world_size():
        _say(
            f"{distributed.world_size()} processes instead of {ranks}: the run goes on, but not bit for bit, since "
            "sums over ranks are rounded in another order"
        )
    if position.place(sampler) < sampler.steps:
        distributed.on_rank_0(lambda: history.go_on(cfg, position, resumed.changes))
    return resumed.state, position


def _nothing_left(cfg: config.Config, learner: Learner, sampler: StepSampler, position: Position) -> None:
    """Say so; the export is made where a run was killed between its last checkpoint and that."""
    done = position.place(sampler) / sampler.steps_per_epoch
    records.complete_export(cfg, learner, position, done)
    _say(
        f"nothing left to do: {cfg.run_dir} has done {done:g} of {cfg.optim.epochs} epochs (step {position.step}); "
        "raise optim.epochs to go on, or choose another run_dir."
    )


def _farewell(wish: Wish, run_dir: Path, done: int, steps: int) -> Exception:
    """Why all ranks leave after a step: a signal to one of them, or one has no more images and raises why."""
    kept = f"step {done} of {steps}, kept in {checkpoint.path_of(run_dir, done)}"
    ended = any(distributed.gathered(wish.failure is not None))
    if wish.failure is not None:
        _say(f"stopped after {kept}")
        return wish.failure
    if ended:
        return Lost(
            f"rank {distributed.rank()} has lost the others: one of them has no more images, and says why; all have "
            f"stopped after {kept}, and the same command goes on from there."
        )
    asked = wish.signal.name if wish.signal else "a signal to another rank"
    return Stopped(f"stopped by {asked} after {kept}")


def read(learner: Learner, stepped: Stepped, measure: bool, probe: Probe | None) -> dict[str, torch.Tensor | float]:
    """What is read where a line is logged, by its name in the metrics.

    Args:
        learner: what is trained.
        stepped: what its last step left.
        measure: whether to read also what waits for the device.
        probe: measures the trunk, on rank 0 and with `measure` only; None for no such measurement.
    """
    readings: dict[str, torch.Tensor | float] = {}
    readings |= norms(learner.model, learner.form, "momentum" in learner.targets)
    readings |= learner.health.observe(stepped.targets)
    readings |= diagnostics.figure_3(learner.form, stepped.online[0], stepped.targets[1])
    if measure:
        readings["effective_rank"] = learner.health.effective_rank()
        readings |= learner.linear.read() if learner.linear else {}
        if probe and distributed.rank() == 0:
            readings |= probe(learner.model.online.trunk)
    return readings


@contextlib.contextmanager
def _kept_for_replay(
    cfg: config.Config, learner: Learner, loader: DataLoader[Any], sampler: StepSampler, place: int
) -> Iterator[None]:
    """Where the body raises an alarm, keep the batch of step `place` and the state before and after it.

    The views of a step follow from its keys, so the offending batch is made again rather than every batch held.
    """
    try:
        yield
    except Alarm as alarm:
        batch = collate([loader.dataset[key] for key in sampler.keys(place)])
        folder = replay.keep(Path(cfg.run_dir), alarm.step, batch, learner.parts(), dataclasses.asdict(cfg))
        _say(f"kept for replay: the offending batch and the state before and after it, under {folder}")
        raise


def _say(sentence: str) -> None:
    if distributed.rank() == 0:
        say(sentence)
