"""Training end to end, from files to steps: images a second, the share of time that waits for data, hours of ImageNet.

`pretrain.train.run` itself trains, loader, logging and all, in a folder that is thrown away; the numbers are those
that it logs, of windows after the first ones.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pretrain import train
from pretrain.data.loader import StepSampler
from pretrain.data.sources import open_source
from pretrain.engine import learner, validate
from pretrain.runtime.processes import signals
from tools.benchmarks import timing
from tools.benchmarks.measure.step import Size
from tools.benchmarks.timing import Spread

WINDOW = 5  # steps of one reading
WARM_UP = 2 * WINDOW  # steps before the first reading that counts: workers start, kernels are chosen and compiled
IMAGENET = 1_281_167  # images of its training set


@dataclass(frozen=True)
class Cost:
    """images_per_second, waiting (a share of the time): over windows of WINDOW steps. packed: the images' root."""

    images_per_second: Spread
    waiting: Spread
    packed: bool

    def hours(self, epochs: int) -> float:
        """Of that many epochs of ImageNet at this speed."""
        return epochs * IMAGENET / self.images_per_second.median / 3600


def measure(root: Path, size: Size, steps: int, *overrides: str) -> Cost:
    """The cost of `steps` steps on the images under `root`, rounded up to windows, after WARM_UP others.

    Raises:
        UserError: no image, or fewer than a batch.
    """
    source, windows = open_source(root), -(-steps // WINDOW)
    steps = WARM_UP + windows * WINDOW
    with tempfile.TemporaryDirectory() as run_dir:
        cfg = size.config(
            f"data.root={root}",
            f"run_dir={run_dir}",
            f"run.log_every={WINDOW}",
            "run.stop_on_collapse=false",
            *(f"run.{name}_every_epochs={steps}" for name in ("checkpoint", "measure")),
            *overrides,
        )
        device = validate.ready(cfg)
        sampler = StepSampler(len(source), size.batch, steps / max(1, len(source) // size.batch), cfg.run.seed)
        with contextlib.redirect_stdout(io.StringIO()):
            train.run(cfg, source, sampler, learner.build(cfg, device), signals.Wish())
        told = (Path(run_dir) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    read = [json.loads(text) for text in told[-windows:]]
    rate, waiting = (timing.spread([line[name] for line in read]) for name in ("images_per_second", "data_wait"))
    return Cost(rate, waiting, packed=source.kind == "packed")


def text(cost: Cost) -> str:
    """All of a cost, in lines."""
    return (
        f"{cost.images_per_second.text(1, 2)} images/s, waiting for data {cost.waiting.text(100, 1)} % of the time\n"
        f"ImageNet at that speed: {cost.hours(100):,.0f} hours for 100 epochs, {cost.hours(800):,.0f} for 800"
    )
