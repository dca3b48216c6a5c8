"""Fine-tuning a detector from a trunk, with detectron2's trainer and hooks, to one result file."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.engine import AMPTrainer, SimpleTrainer, TrainerBase, default_writers, hooks
from detectron2.modeling import build_model
from detectron2.projects.deeplab import build_lr_scheduler  # detectron2's own, and DeepLab's polynomial one
from detectron2.solver import build_optimizer
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from pretrain import comm, provenance
from pretrain.errors import UserError
from pretrain.files import save_torch, write_json, write_text
from transfer import results
from transfer.detection import (
    datasets,
    draw,
    draw_labels,
    evaluate,
    heads,  # noqa: F401  (registers Res5ROIHeadsExtraNorm)
    machine,
    settings,
    weights,
)
from transfer.detection.checks import SEMANTIC
from transfer.detection.semantic import SemanticMapper

DIVERGED = "diverged.pth"
PROGRESS = "detectron2.utils.events"  # the logger of the line with iteration, losses and time left
KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class Beginning:
    """What a folder was begun with; going on from its checkpoints with anything else would mix two runs."""

    arch: str
    init: str
    sha256: str
    seed: int
    images_per_step: int  # which the schedule was rescaled to: iterations of other steps do not add up


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
    _check_folder(out, _beginning(cfg, trunk), resume)
    _begin_logs(cfg, out)
    scratch = out / "inference"
    data = datasets.open_all(cfg, scratch)
    _say(data.notes())
    named = cfg.clone()  # the catalogue's names instead of the user's; the written config keeps the user's
    named.DATASETS.TRAIN, named.DATASETS.TEST = data.train, (data.test,)
    seed_all_rng(cfg.SEED + comm.rank())
    model = build_model(named)
    _say([weights.fill(model, trunk)])
    _run(named, model, device, out, resume)
    measured = evaluate.measure(named, model, data.test, scratch)
    if comm.rank() > 0:
        return None
    draws = draw_labels.draw_labels if _semantic(cfg) else draw.draw_detections
    pictures = draws(named, model, data.readings[data.test].records, data.classes, drawn, out / "detections")
    result = _result(cfg, trunk, data, measured)
    result.seconds = time.monotonic() - started
    result.artefacts["images"] = [str(path.relative_to(out)) for path in pictures]
    results.save(out / "result.json", result)
    return result


def _beginning(cfg: CfgNode, trunk: weights.Trunk) -> Beginning:
    return Beginning(trunk.arch, trunk.init, trunk.sha256, cfg.SEED, cfg.SOLVER.IMS_PER_BATCH)


def _semantic(cfg: CfgNode) -> bool:
    return cfg.MODEL.META_ARCHITECTURE == SEMANTIC


def _result(cfg: CfgNode, trunk: weights.Trunk, data: datasets.DataSets, measured: evaluate.Measured) -> results.Result:
    masks = "segmentation" if cfg.MODEL.MASK_ON else "detection"
    return results.Result(
        task="semantic" if _semantic(cfg) else masks,
        protocol=settings.protocol(cfg),
        dataset=cfg.DATASETS.NAME,
        metrics=measured.metrics,
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
            "protocol": cfg.PROTOCOL,
            "iterations": cfg.SOLVER.MAX_ITER,
            "images_per_step": cfg.SOLVER.IMS_PER_BATCH,
            "base_lr": cfg.SOLVER.BASE_LR,
            "norm": cfg.MODEL.RESNETS.NORM,
            "processes": comm.world_size(),
            "peak_memory_mb": _peak_memory(),
            "classes": list(data.classes),
        },
        artefacts={"images": [], "by_class": measured.by_class, "curves": measured.curves},
    )


def _peak_memory() -> int:
    """Of this process, in MiB: the device's on CUDA, else the resident set's (which Linux tells in KiB)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _join(cfg: CfgNode) -> torch.device:
    """Join the other ranks, fit `cfg` to the machine, and return this rank's device."""
    cuda = torch.cuda.is_available() and cfg.MODEL.DEVICE.startswith("cuda")
    device = torch.device("cuda", comm.local_rank()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    comm.start(device)
    _say(machine.fit_to_machine(cfg, comm.world_size()))
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
    trainer = (AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer)(parallel, _train_loader(cfg), optimizer)
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
        kept = _keep_diverged(model, trainer, out)
        raise UserError(
            f"the loss is no longer finite at iteration {trainer.iter} ({' '.join(str(error).split())}); {kept} holds "
            "the state before that step: lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_ITERS."
        ) from error


def _train_loader(cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
    mapper = {"mapper": SemanticMapper(cfg, True)} if _semantic(cfg) else {}
    return build_detection_train_loader(cfg, **mapper)


def _keep_diverged(model: nn.Module, trainer: TrainerBase, out: Path) -> Path:
    """Weights, optimiser and iteration as they are; apart from the checkpoints, so that nothing goes on from it."""
    state = {"model": model.state_dict(), "trainer": trainer.state_dict(), "iteration": trainer.iter}
    return save_torch(out / DIVERGED, state)


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
        loader = _train_loader(here)
        precise = hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)
    usual = [hooks.IterationTimer(), hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer)), precise]
    if comm.rank() == 0:
        usual.append(
            hooks.PeriodicCheckpointer(checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=KEPT_CHECKPOINTS)
        )
        usual.append(hooks.PeriodicWriter(default_writers(str(out), cfg.SOLVER.MAX_ITER), period=20))
    return usual
