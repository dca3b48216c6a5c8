"""Fine-tuning a detector from a trunk, with detectron2's trainer and hooks, to one result file."""

from __future__ import annotations

import logging
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from pretrain.runtime import distributed, provenance
from pretrain.runtime.devices.device import choose_device
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, write_json, write_text
from pretrain.runtime.printable import say
from pretrain.weights.hub import moved
from pretrain.weights.hub.names import is_hub
from transfer import results
from transfer.detection import loop
from transfer.detection.catalog import DataSets, open_datasets
from transfer.detection.config import load, scale
from transfer.detection.evaluation.evaluators.base import Measured
from transfer.detection.evaluation.measure import measure_split
from transfer.detection.modeling import (
    fcn_head,  # noqa: F401  (registers FCNHead)
    roi_heads,  # noqa: F401  (registers Res5ROIHeadsExtraNorm)
    timm_trunk,
    weights,
)
from transfer.detection.tasks import task_of
from transfer.tracked import tell_results

RECORD = "beginning.json"  # in the folder of a run: what it began with
PROGRESS_LOGGER = "detectron2.utils.events"  # writes the line with iteration, losses and time left


@dataclass(frozen=True)
class Beginning:
    """What a run began with; going on from its checkpoints with anything else would mix two runs.

    images_per_step: after the schedule was rescaled; the iterations of runs that differ in it do not add up.
    """

    arch: str
    init: str
    sha256: str
    seed: int
    images_per_step: int


def train_detector(cfg: CfgNode, out: Path, resume: bool = False, drawn: int = 6) -> results.Result | None:
    """Fine-tune and evaluate what `cfg` describes; writes OUT/result.json, OUT/detections/*.png and detectron2's logs.

    Under WORLD_SIZE > 1 every rank calls this. `cfg` is changed in place to what the machine can run.

    Args:
        cfg: from `load.load_config`.
        out: the run's folder.
        resume: go on from the newest checkpoint in `out`, if there is one.
        drawn: how many test images to draw.

    Returns:
        the result; None on ranks other than 0.

    Raises:
        UserError: bad weights, data or folder, before the first iteration; or a loss that is no longer finite.
    """
    started, out = time.monotonic(), Path(out)
    device = _start_ranks(cfg)
    pin_weights(cfg, out, resume)
    trunk = weights.read_weights(cfg, out)
    _check_folder(out, _beginning(cfg, trunk), trunk.called, resume)
    _begin_logs(cfg, out)
    scratch = out / "inference"
    data = open_datasets(cfg, scratch, trunk.bits)
    _print_notes(data.notes())
    named = cfg.clone()  # with the names in the catalogue; the written configuration keeps the user's
    timm_trunk.choose_builder(named)
    named.DATASETS.TRAIN, named.DATASETS.TEST = data.train, (data.test,)
    seed_all_rng(cfg.SEED + distributed.rank())
    model = build_model(named)
    _print_notes([weights.fill_detector(model, trunk)])
    loop.run_iterations(named, model, device, out, resume)
    measured = measure_split(named, model, data.test, scratch)
    if distributed.rank() > 0:
        return None
    result = _result(cfg, trunk, data, measured)
    result.seconds = time.monotonic() - started
    results.save(out / "result.json", result)  # before a picture is drawn, which may fail
    records = data.readings[data.test].records
    pictures = task_of(cfg).draw(named, model, records, data.classes, drawn, out / "detections")
    result.artefacts["images"] = [str(path.relative_to(out)) for path in pictures]
    results.save(out / "result.json", result)
    tell_results({out / "result.json": result})
    return result


def _beginning(cfg: CfgNode, trunk: weights.Trunk) -> Beginning:
    return Beginning(trunk.arch, trunk.init, trunk.sha256, cfg.SEED, cfg.SOLVER.IMS_PER_BATCH)


def _result(cfg: CfgNode, trunk: weights.Trunk, data: DataSets, measured: Measured) -> results.Result:
    return results.Result(
        task=task_of(cfg).result_task(cfg),
        protocol=load.protocol_name(cfg),
        dataset=cfg.DATASETS.NAME,
        metrics=measured.metrics,
        counts=data.counts(),
        seed=cfg.SEED,
        init=trunk.init,
        arch=trunk.arch,
        checkpoint=trunk.called,
        checkpoint_sha256=trunk.sha256,
        pretraining=trunk.meta,
        commit=provenance.commit(),
        hardware=provenance.hardware(),
        settings={
            "protocol": cfg.PROTOCOL,
            "iterations": cfg.SOLVER.MAX_ITER,
            "images_per_step": cfg.SOLVER.IMS_PER_BATCH,
            "base_lr": cfg.SOLVER.BASE_LR,
            "norm": cfg.MODEL.RESNETS.NORM,
            "processes": distributed.world_size(),
            "peak_memory_mb": _peak_memory(),
            "classes": list(data.classes),
        },
        artefacts={"images": [], "by_class": measured.by_class, "curves": measured.curves},
    )


def _peak_memory() -> int:
    """Of this process, in MiB: the device's on CUDA, else the resident set's, which Linux counts in KiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _start_ranks(cfg: CfgNode) -> torch.device:
    """Join the other ranks, fit `cfg` to the machine, and return this rank's device."""
    name = "auto" if cfg.MODEL.DEVICE.startswith("cuda") else "cpu"
    device = choose_device(name, "MODEL.DEVICE", cfg.SOLVER.TF32)
    distributed.start(device)
    _print_notes(scale.fit_to_machine(cfg, distributed.world_size()))
    return device


def _print_notes(notes: list[str]) -> None:
    if distributed.rank() == 0:
        for note in notes:
            say(f"note: {note}")


def pin_weights(cfg: CfgNode, out: Path, resume: bool) -> None:
    """Pin MODEL.WEIGHTS, where it is a name on a hub, in place; rank 0 alone asks, once the ranks have met.

    Args: cfg, of the run; out, its folder; resume, whether it goes on from its newest checkpoint.

    Raises:
        UserError: as of `pretrain.weights.hub.moved.pinned`.
    """
    record, goes_on = out / RECORD, resume and (out / "last_checkpoint").is_file()

    def pinned() -> str:
        earlier = _begun(record)
        known = moved.Record(record, str(earlier.get("weights") or ""), str(earlier.get("sha256") or ""), goes_on)
        return moved.pinned(cfg.MODEL.WEIGHTS, known)

    if is_hub(cfg.MODEL.WEIGHTS):
        cfg.MODEL.WEIGHTS = distributed.on_rank_0(pinned)


def _begun(record: Path) -> dict[str, Any]:
    """What a run began with; empty where none was begun."""
    earlier = read_json(record, "the record of a run's beginning") if record.is_file() else {}
    if not isinstance(earlier, dict):
        raise UserError(f"{record} is damaged: give another folder.")
    return earlier


def _check_folder(out: Path, beginning: Beginning, called: str, resume: bool) -> None:
    """Refuse to overwrite a run, or to go on with another one's checkpoints; record what this one begins with."""
    record = out / RECORD
    distributed.barrier()  # no rank writes the record before every rank has read it
    if (out / "last_checkpoint").is_file():
        if not resume:
            raise UserError(f"{out} already holds a training: go on with --resume, or give another folder.")
        earlier = _begun(record)
        differing = [key for key, value in asdict(beginning).items() if earlier.get(key) != value]
        if differing:
            raise UserError(f"{out} was begun with another {', '.join(differing)}: give another folder.")
    distributed.barrier()
    if distributed.rank() == 0:
        write_json(record, {**asdict(beginning), "weights": called})


def _begin_logs(cfg: CfgNode, out: Path) -> None:
    """All messages of detectron2 go to OUT/log.txt; the console gets its progress line."""
    setup_logger.cache_clear()  # a second run in this process: called again alike it would return the first's handlers
    for name in ("detectron2", "fvcore"):
        logging.getLogger(name).handlers.clear()
        setup_logger(str(out), distributed_rank=distributed.rank(), name=name, configure_stdout=False)
    progress = logging.getLogger(PROGRESS_LOGGER)
    progress.handlers.clear()
    if distributed.rank() == 0:
        console = logging.StreamHandler(sys.stdout)
        console.setFormatter(logging.Formatter("%(asctime)s%(message)s", datefmt="%H:%M:%S"))
        progress.addHandler(console)
        write_text(out / "config.yaml", cfg.dump())
