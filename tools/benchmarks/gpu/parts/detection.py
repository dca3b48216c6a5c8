"""Iterations a second of Faster R-CNN R50-C4 at the size of VOC's schedule, on generated scenes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator

from tools.benchmarks.gpu.part import Asked, Part, Reading

FULL = [  # the demo's detector at the sizes of configs/detection/c4/voc_r50_c4_24k.yaml
    "MODEL.RESNETS.DEPTH=50",
    "MODEL.RESNETS.RES2_OUT_CHANNELS=256",
    "MODEL.ANCHOR_GENERATOR.SIZES=[[32,64,128,256,512]]",
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN=12000",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN=2000",
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE=256",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE=512",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION=14",
    "INPUT.MIN_SIZE_TRAIN=(800,)",
    "INPUT.MAX_SIZE_TRAIN=1333",
    "DATALOADER.NUM_WORKERS=4",
    "SOLVER.AMP.ENABLED=True",
]


def measure(asked: Asked) -> Iterator[Reading]:
    """Two images an iteration, as each GPU of the published schedule has."""
    from tools.benchmarks.gpu.commands import run_command
    from tools.benchmarks.gpu.images import synthetic

    scenes = synthetic(asked, "--train", "8", "--val", "8", "--scenes", "8" if asked.toy else "64", "--val-scenes", "2")
    out, iterations = asked.scratch / "detector", 4 if asked.toy else 100
    words = ["MODEL.WEIGHTS=random", f"DATASETS.ROOT={scenes / 'voc'}", f"SOLVER.MAX_ITER={iterations}"]
    words += ["SOLVER.STEPS=()", f"MODEL.DEVICE={asked.device}", "TEST.PRECISE_BN.ENABLED=False"]
    words += [] if asked.toy else FULL
    config = "configs/detection/c4/demo_r18_c4.yaml"
    run_command("tools/train_detection.py", "--config", config, "--out", str(out), "--visualise", "0", *words)
    lines = [json.loads(line) for line in (out / "metrics.json").read_text(encoding="utf-8").splitlines()]
    median = statistics.median(line["time"] for line in lines if "time" in line)
    depth = "R18-C4, 128 px" if asked.toy else "R50-C4, 800 px, AMP"
    yield Reading(f"Faster R-CNN {depth}, 2 images", f"{1 / median:.2f} iterations/s")


PART = Part("detection", 6, 1.0, measure)
