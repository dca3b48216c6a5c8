"""Training end to end, from JPEG files to steps, and how long the GPU waits for its images."""

from __future__ import annotations

from collections.abc import Iterator

from tools.benchmarks.gpu.part import Asked, Part, Reading

GOALS = {0: "goal: 1,300 images/s, aim 1,800 (one H200)", 6: "goal: 950 images/s, aim 1,250 (one H200)"}


def measure(asked: Asked) -> Iterator[Reading]:
    """2x224, then multi-crop, both of a ResNet-50; at most 5 % of the time may go to waiting with 16 cores."""
    from tools.benchmarks.gpu.images import photographs
    from tools.benchmarks.measure import loader, train
    from tools.benchmarks.measure.step import Size

    root, workers = photographs(asked), loader.worker_counts()[-1]
    for local in (0,) if asked.toy else GOALS:
        toy = Size("resnet18", 32, 4, 16, local, 16)
        size = toy if asked.toy else Size("resnet50", 224, 256, 2048, local)
        steps, precision = (5, "fp32") if asked.toy else (40, "bf16")
        words = [f"data.workers={workers}", f"run.device={asked.device}", f"run.precision={precision}"]
        name = f"{size.arch}, 2x{size.size}" + (f" + {local}x{size.local_size}" if local else "")
        print(f"trains {name}: compiles, then takes {train.WARM_UP} steps before the {steps} that count", flush=True)
        cost = train.measure(root, size, steps, *words)
        value = f"{cost.images_per_second.text(1, 0)} images/s"
        yield Reading(
            f"{name}, {size.batch}, {precision}, {workers} workers", value, note="" if asked.toy else GOALS[local]
        )
        waits = f"{cost.waiting.text(100, 1)} % of the time"
        yield Reading(f"{name}: waiting for images", waits, note="goal: at most 5 %, 16 cores")


PART = Part("train", 2, 2.0, measure)
