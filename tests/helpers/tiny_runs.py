"""The smallest runs that are still runs: their options, images, commands, and what they leave."""

from __future__ import annotations

import json
import os
import socket
import sys

import numpy as np
import torch
from PIL import Image
from torch import nn

from helpers.repository import ROOT
from pretrain.config import Config, load
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.models.siamese import Branch, UnitRows

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
ARCH = "timm/test_resnet"  # one block a stage and 0.4 million weights: a run takes a quarter of a ResNet-18's time
RESNET18 = "model.arch=resnet18"  # for what is evaluated, converted or held against torchvision
TINY = [
    f"model.arch={ARCH}",
    "model.projector_depth=2",
    "model.projector_width=16",
    "views.size=32",
    "optim.batch_size=8",
    "optim.epochs=3",
    "optim.warmup_epochs=1",
    "optim.base_lr=1.0",
    "run.precision=fp32",
    "run.device=cpu",
    "run.log_every=1",
    "run.checkpoint_every_epochs=1.5",
    "data.workers=0",
]


def write_images(folder):
    """Twenty smooth pictures of 48 px."""
    generator = np.random.default_rng(0)
    for index in range(20):
        coarse = Image.fromarray(generator.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.png")
    return folder


def fixed_batch():
    """Two views of eight images, uint8 (2, 8, 3, 32, 32)."""
    return torch.randint(0, 255, (2, 8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def tiny_branch():
    """A float64 branch of one convolution, one norm and one linear layer; the same at every call."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), ViewBatchNorm(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Branch(trunk, nn.Linear(4, 5), UnitRows()).double()


def configure(images, run_dir, *overrides):
    return load(Config, None, [*TINY, f"data.root={images}", f"run_dir={run_dir}", *overrides])


def command(images, run_dir, *overrides):
    arguments = [*TINY, f"data.root={images}", f"run_dir={run_dir}", *overrides]
    return [sys.executable, str(ROOT / "tools" / "pretrain.py"), *arguments]


def last_checkpoint(run_dir):
    newest = sorted((run_dir / "checkpoints").glob("step_*.pth"))[-1]
    return torch.load(newest, weights_only=True)


def assert_same(first, second):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


def curves(run_dir):
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in ("images_per_second", "data_wait", "time")} for line in lines]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def assert_same_run(first, second):
    """Both runs ended in the same state and wrote the same lines, to the last bit."""
    one, other = last_checkpoint(first), last_checkpoint(second)
    for part in ("step", "model", "form", "health", "optimizer", "scaler", "monitor"):
        assert_same(one[part], other[part])
    assert curves(first) == curves(second)
