"""A short training, and the k-NN accuracy of its trunk along the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tools.benchmarks.gpu.part import Asked, Part, Reading


def measure(asked: Asked) -> Iterator[Reading]:
    """The recipe of Imagenette at 64 px on the user's images; that of the demo on generated ones."""
    from tools.benchmarks.gpu.commands import run_command
    from tools.benchmarks.gpu.images import synthetic
    from tools.benchmarks.measure import loader

    few = ("--train", "64", "--val", "16") if asked.toy else ("--train", "4096", "--val", "800")
    root = asked.images or synthetic(asked, *few, "--scenes", "1", "--val-scenes", "1") / "classes"
    config = "imagenette_cpu" if asked.images else "demo"
    run_dir = asked.scratch / "run"
    words = [f"data.root={root / 'train'}", f"data.val={root / 'val'}", f"run_dir={run_dir}"]
    words += [f"run.device={asked.device}", "run.stop_on_collapse=false", "run.log_every=1"]
    words += [f"data.workers={loader.worker_counts()[-1]}"]
    if asked.toy:
        words += ["optim.epochs=2", "optim.batch_size=16", "run.knn_images=16"]
    run_command("tools/pretrain.py", "--config", f"configs/pretrain/{config}.yaml", *words)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    accuracies = [line["knn_top1"] for line in lines if "knn_top1" in line]
    name = f"configs/pretrain/{config}.yaml, {len(lines)} steps on {_called(asked.images)}"
    yield Reading(f"{name}: k-NN (k 20) at each measurement", ", ".join(f"{top:.1f}" for top in accuracies), note="%")


def _called(images: Path | None) -> str:
    return images.name if images else "generated images"


PART = Part("learn", 5, 1.5, measure)
