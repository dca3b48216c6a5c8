"""Seconds that a run takes to its first step: what the compiler takes, cold and with what it kept.

A process of its own each time: python -m tools.benchmarks.measure.first_step '{"arch": "resnet50", ...}' DEVICE FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from pretrain.engine.learner import build
from pretrain.runtime.devices.compile import keep_compiled
from pretrain.step import step as take_step
from tools.benchmarks.measure.step import SCHEDULE, Size


def measure(size: Size, device: torch.device, kept: Path) -> float:
    """Seconds from the start of building the network to the end of a step, compiled where a run would be: on a GPU.

    Args: size, of the batch and the network; device, where it runs; kept, the compiler's folder, empty for a cold one.
    """
    keep_compiled(kept)
    batch, start = size.batch_of_noise(device), time.perf_counter()
    learner = build(size.config(f"run.precision={'bf16' if device.type == 'cuda' else 'fp32'}"), device)
    loss = take_step(learner, batch, 0, SCHEDULE).values["positive"].item()
    assert loss == loss, "the first loss is a number"
    return time.perf_counter() - start


if __name__ == "__main__":
    print(measure(Size(**json.loads(sys.argv[1])), torch.device(sys.argv[2]), Path(sys.argv[3])))
