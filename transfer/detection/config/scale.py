"""A configuration fitted to where it runs: batch and schedule to the number of processes, norms to the device."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer

from pretrain.runtime.errors import UserError
from transfer.detection.config.load import value_at

NORM_KEYS = (
    "MODEL.RESNETS.NORM",
    "MODEL.FPN.NORM",
    "MODEL.ROI_BOX_HEAD.NORM",
    "MODEL.ROI_MASK_HEAD.NORM",
    "MODEL.RETINANET.NORM",
    "MODEL.SEM_SEG_HEAD.NORM",
)


def scale_schedule(cfg: CfgNode, processes: int) -> list[str]:
    """Keep the images of each process and rescale the schedule linearly, in place; returns what it is now, in words.

    SOLVER.REFERENCE_WORLD_SIZE is the number of GPUs that IMS_PER_BATCH, BASE_LR, MAX_ITER, STEPS and WARMUP_ITERS are
    written for; on k times as many the batch and the rate grow k-fold and the iterations shrink k-fold (Goyal et al.,
    2017; detectron2's auto_scale_workers). 0 leaves everything as it is written, whatever the number of processes.
    """
    before, reference = cfg.SOLVER.clone(), cfg.SOLVER.REFERENCE_WORLD_SIZE
    if not reference or reference == processes:
        return []
    if before.IMS_PER_BATCH % reference:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH={before.IMS_PER_BATCH} cannot be shared equally by SOLVER.REFERENCE_WORLD_SIZE="
            f"{reference}: choose a multiple of it."
        )
    solver = DefaultTrainer.auto_scale_workers(cfg, processes).SOLVER
    cfg.SOLVER.merge_from_other_cfg(solver)
    changes = {
        "batch": (before.IMS_PER_BATCH, solver.IMS_PER_BATCH),
        "lr": (f"{before.BASE_LR:g}", f"{solver.BASE_LR:g}"),
        "iterations": (before.MAX_ITER, solver.MAX_ITER),
        "steps": (tuple(before.STEPS), tuple(solver.STEPS)),
        "warm-up": (before.WARMUP_ITERS, solver.WARMUP_ITERS),
    }
    told = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changes.items())
    return [
        f"written for {reference} x {before.IMS_PER_BATCH // reference} images, here {processes} x "
        f"{before.IMS_PER_BATCH // reference}: {told} (SOLVER.REFERENCE_WORLD_SIZE=0 keeps them as written)."
    ]


def fit_to_machine(cfg: CfgNode, processes: int) -> list[str]:
    """Change schedule, device, norms and precision of `cfg` in place to what runs here; returns one note a change.

    Raises:
        UserError: the batch cannot be shared equally by `processes`, or a norm cannot be shared by them here.
    """
    notes = scale_schedule(cfg, processes)
    if cfg.SOLVER.IMS_PER_BATCH % processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH={cfg.SOLVER.IMS_PER_BATCH} cannot be shared equally by {processes} processes: "
            "choose a multiple of their number."
        )
    stepped = cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR"  # others fall without STEPS
    if stepped and cfg.SOLVER.STEPS and min(cfg.SOLVER.STEPS) >= cfg.SOLVER.MAX_ITER:
        notes.append(f"no step of SOLVER.STEPS={tuple(cfg.SOLVER.STEPS)} is reached: the rate never falls.")
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
        notes.append("no CUDA device here: training on the CPU.")
    return notes if cfg.MODEL.DEVICE != "cpu" else notes + _fit_to_cpu(cfg, processes)


def _fit_to_cpu(cfg: CfgNode, processes: int) -> list[str]:
    notes, arch = [], cfg.MODEL.BACKBONE.ARCH
    if arch and processes > 1 and cfg.MODEL.RESNETS.NORM == "SyncBN":
        raise UserError(
            f"MODEL.RESNETS.NORM=SyncBN of {arch} runs on CUDA only: use one process, or set it to BN, whose "
            "statistics each process keeps for itself."
        )
    # torch's SyncBatchNorm refuses CPU tensors; detectron2's own takes them, and in one process BN is the same
    norm = "BN" if processes == 1 else "naiveSyncBN"
    replaced = [key for key in NORM_KEYS if value_at(cfg, key) == "SyncBN"]
    if replaced:
        cfg.merge_from_list([item for key in replaced for item in (key, norm)])
        notes.append(f"SyncBN runs on CUDA only: {norm} instead, over {processes} process{'es' * (processes > 1)}.")
    if cfg.SOLVER.AMP.ENABLED:
        cfg.SOLVER.AMP.ENABLED = False
        notes.append("SOLVER.AMP is for CUDA only: training in fp32.")
    return notes
