"""Fine-tuning a detector from a trunk, with detectron2's trainer and hooks, to one result file."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.engine import AMPTrainer, SimpleTrainer, default_writers, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from pretrain import comm, provenance
from pretrain.errors import UserError
from pretrain.files import write_json, write_text
from transfer import results
from transfer.detection import (
    datasets,
    draw,
    evaluate,
    heads,  # noqa: F401  (registers Res5ROIHeadsExtraNorm)
    settings,
    weights,
)

PROGRESS = "detectron2.utils.events"  # the logger of the line with iteration, losses and time left
KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class Beginning:
    """What a folder was begun with; going on from its checkpoints with anything else would mix two runs."""

    arch: str
    init: str
    sha256: str
    seed: int


def train(cfg: CfgNode, out: Path, resume: bool = False, drawn: int = 6) -> results.Result | None:
    """Fine-tune and evaluate what `cfg` describes; writes OUT/result.json, OUT/detections/*.png and detectron2's logs.

    Under WORLD_SIZE > 1 every rank calls this. `cfg` is changed in place to what the machine can run.

    Args:
        cfg: from `settings.load`. out: the run's folder. drawn: how many images to draw.
        resume: go on from the newest checkpoint in `out`, if there is one.

    Returns:
        the result; None on ranks other than 0.

    Raises:
        UserError: bad weights, data or folder, before the first iteration; or a loss that is no longer finite.
    """
    started, out = time.monotonic(), Path(out)
    device = _join(cfg)
    trunk = weights.read(cfg, out)
    _check_folder(out, Beginning(trunk.arch, trunk.init, trunk.sha256, cfg.SEED), resume)
    _begin_logs(cfg, out)
    scratch = out / "inference"
    data = datasets.open_all(cfg, scratch)
    _say(data.notes())
    named = cfg.clone()  # the catalogue's names instead of the user's; the written config keeps the user's
    named.DATASETS.TRAIN, named.DATASETS.TEST = data.train, (data.test,)
    seed_all_rng(cfg.SEED + comm.rank())
    model = build_model(named)
    weights.fill(model, trunk)
    _run(named, model, device, out, resume)
    metrics = evaluate.average_precision(named, model, data.test, scratch)
    if comm.rank() > 0:
        return None
    records = data.readings[data.test].records
    pictures = draw.draw_detections(named, model, records, data.classes, drawn, out / "detections")
    result = _result(cfg, trunk, data, metrics)
    result.seconds = time.monotonic() - started
    result.artefacts["images"] = [str(path.relative_to(out)) for path in pictures]
    results.save(out / "result.json", result)
    return result


def _result(cfg: CfgNode, trunk: weights.Trunk, data: datasets.DataSets, metrics: dict[str, float]) -> results.Result:
    return results.Result(
        task="segmentation" if cfg.MODEL.MASK_ON else "detection",
        protocol=settings.protocol(cfg),
        dataset=cfg.DATASETS.NAME,
        metrics=metrics,
        counts=data.counts(),
        seed=cfg.SEED,
        init=trunk.init,
        arch=trunk.arch,
        checkpoint=str(trunk.file or ""),
        checkpoint_sha256=trunk.sha256,
        pretraining=trunk.meta,
        commit=provenance.commit(),
        hardware=provenance.hardware(),
        settings={
            "iterations": cfg.SOLVER.MAX_ITER,
            "images_per_step": cfg.SOLVER.IMS_PER_BATCH,
            "base_lr": cfg.SOLVER.BASE_LR,
            "norm": cfg.MODEL.RESNETS.NORM,
            "processes": comm.world_size(),
            "classes": list(data.classes),
        },
    )


def _join(cfg: CfgNode) -> torch.device:
    """Join the other ranks, fit `cfg` to the machine, and return this rank's device."""
    cuda = torch.cuda.is_available() and cfg.MODEL.DEVICE.startswith("cuda")
    device = torch.device("cuda", comm.local_rank()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    comm.start(device)
    _say(settings.fit_to_machine(cfg, comm.world_size()))
    return device


def _say(notes: list[str]) -> None:
    if comm.rank() == 0:
        for note in notes:
            print(f"note: {note}", flush=True)


def _check_folder(out: Path, beginning: Beginning, resume: bool) -> None:
    """Refuse to write over a training, or to go on with another one's checkpoints; record how this one begins."""
    record = out / "beginning.json"
    comm.barrier()  # nobody writes the record before everybody has looked
    if (out / "last_checkpoint").is_file():
        if not resume:
            raise UserError(f"{out} already holds a training: go on with --resume, or give another folder.")
        earlier = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        if earlier != asdict(beginning):
            differing = [key for key, value in asdict(beginning).items() if earlier.get(key) != value]
            raise UserError(f"{out} was begun with another {', '.join(differing)}: give another folder.")
    comm.barrier()
    if comm.rank() == 0:
        write_json(record, asdict(beginning))


def _begin_logs(cfg: CfgNode, out: Path) -> None:
    """Everything detectron2 says goes to OUT/log.txt; the console sees its progress line."""
    setup_logger.cache_clear()  # it does nothing when called again alike, and the handlers below were of another run
    for name in ("detectron2", "fvcore"):
        logging.getLogger(name).handlers.clear()
        setup_logger(str(out), distributed_rank=comm.rank(), name=name, configure_stdout=False)
    progress = logging.getLogger(PROGRESS)
    progress.handlers.clear()
    if comm.rank() == 0:
        console = logging.StreamHandler(sys.stdout)
        console.setFormatter(logging.Formatter("%(asctime)s%(message)s", datefmt="%H:%M:%S"))
        progress.addHandler(console)
        write_text(out / "config.yaml", cfg.dump())


def _run(cfg: CfgNode, model: nn.Module, device: torch.device, out: Path, resume: bool) -> None:
    """Train `model` to SOLVER.MAX_ITER; it is left with its final weights and, if so configured, precise BN."""
    optimizer = build_optimizer(cfg, model)
    parallel = comm.data_parallel(model, device)
    trainer = (AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer)(
        parallel, build_detection_train_loader(cfg), optimizer
    )
    checkpointer = DetectionCheckpointer(parallel, str(out), trainer=trainer)
    trainer.register_hooks(_hooks(cfg, parallel, optimizer, checkpointer, out))
    first = 0
    if resume and checkpointer.has_checkpoint():
        checkpointer.resume_or_load("", resume=True)
        first = trainer.iter + 1
        _say([f"going on from iteration {first} of {cfg.SOLVER.MAX_ITER}."])
    if first >= cfg.SOLVER.MAX_ITER:  # trained to its end before; what is left is the evaluation
        return
    try:
        trainer.train(first, cfg.SOLVER.MAX_ITER)
    except FloatingPointError as error:
        raise UserError(
            f"the loss is no longer finite at iteration {trainer.iter}: lower SOLVER.BASE_LR, lengthen "
            "SOLVER.WARMUP_ITERS, or, from random weights, choose norms other than FrozenBN."
        ) from error


def _hooks(
    cfg: CfgNode,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpointer: DetectionCheckpointer,
    out: Path,
) -> list[hooks.HookBase | None]:
    """detectron2's usual hooks in its usual order; precise BN comes before the checkpoint that must hold it."""
    precise = None
    if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(model):
        here = cfg.clone()
        here.DATALOADER.NUM_WORKERS = 0  # a second set of workers would idle through the whole training
        loader = build_detection_train_loader(here)
        precise = hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)
    usual = [hooks.IterationTimer(), hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer)), precise]
    if comm.rank() == 0:
        usual.append(
            hooks.PeriodicCheckpointer(checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=KEPT_CHECKPOINTS)
        )
        usual.append(hooks.PeriodicWriter(default_writers(str(out), cfg.SOLVER.MAX_ITER), period=20))
    return usual
