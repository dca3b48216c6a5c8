"""k-NN and the linear probe on random features of ImageNet's size."""

from __future__ import annotations

from collections.abc import Iterator

from tools.benchmarks.gpu.part import Asked, Part, Reading


def measure(asked: Asked) -> Iterator[Reading]:
    """k-NN of val's queries in train's bank, beside a plain product; then settings of the probe at once beside one."""
    import torch

    from tools.benchmarks.measure import knn, probe

    device = torch.device(asked.device)
    queries, bank, width, classes = (64, 512, 16, 4) if asked.toy else (50_000, 1_281_167, 2048, 1000)
    found = knn.measure(queries, bank, width, 1, device)
    yield Reading(
        f"k-NN, {queries:,} x {bank:,} x {width}",
        f"{found.seconds.text(1, 2)} s, host memory {found.peak_gib:.1f} GiB",
        found.speed.text(1, 2),
        "plain float32 product",
    )
    rows, epochs = (256, 1) if asked.toy else (256_000, 2)
    cost = probe.measure(rows, width, classes, epochs, 1, device)
    what = f"linear, {cost.settings} settings, {rows:,} x {width}, {classes} classes, {epochs} epochs"
    yield Reading(what, f"{cost.seconds.text(1, 2)} s", cost.ratio.text(1, 2), "one setting", "time over time")


PART = Part("frozen", 4, 1.5, measure)
