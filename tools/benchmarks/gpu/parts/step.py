"""A training step on images that are ready, beside the official-style one and lightly's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tools.benchmarks.gpu.part import Asked, Part, Reading

if TYPE_CHECKING:  # the parts are listed before torch is loaded
    from tools.benchmarks.measure.step import Cost, Size


def measure(asked: Asked) -> Iterator[Reading]:
    """Each size in turn, as long as there is time for one more; the checks first, without which there is no speed."""
    import torch

    from tools.benchmarks.measure import step
    from tools.benchmarks.reference import checks

    device = torch.device(asked.device)
    looked = (0,) if asked.toy else (0, 2)  # local views
    failed = [check for local in looked for check in checks.step(local) if not check.passed]
    if failed:
        yield Reading("equivalence", note=f"no speed is shown: {'; '.join(map(checks.line, failed))}")
        return
    longest = 0.0
    for size in _sizes(asked.toy):
        name = f"2x{size.size}" + (f" + {size.locals}x{size.local_size}" if size.locals else "") + f", {size.batch}"
        if asked.left < longest:
            yield Reading(f"{size.arch}, {name}", note=f"left out: {asked.left:.0f} s are too few")
            continue
        start = time.monotonic()
        try:
            repeats, slow = (1, "bf16") if asked.toy else (3, "fp32")  # few CPUs have bf16, and no GPU trains in fp32
            costs = list(step.measure(size, repeats, device, partial(print, flush=True), slow))
        except torch.cuda.OutOfMemoryError:
            yield Reading(f"{size.arch}, {name}", note="out of memory")
            continue
        longest = max(longest, time.monotonic() - start)
        goal = step.target(size, device)
        yield from (
            _reading(f"{size.arch}, {name}: {cost.contender}", cost, costs[0].contender, goal) for cost in costs
        )
        yield _memory(f"{size.arch}, {name}", size, costs)


def _sizes(toy: bool) -> Iterator[Size]:
    from tools.benchmarks.measure.step import Size

    if toy:
        yield Size("resnet18", 32, 4, 16)
    else:
        for batch in (256, 16, 128, 512):
            yield from (Size("resnet50", 224, batch, 2048, local) for local in (0, 6))


def _memory(what: str, size: Size, costs: list[Cost]) -> Reading:
    """The peak that shapes predict for an uncompiled step, beside the measured ones, which leave out CUDA's context."""
    from pretrain.engine.peak_memory import GIB, StepMemory

    peak = StepMemory(size.config("run.precision=bf16")).peak(size.batch, 1)
    found = [f"{cost.contender} {cost.peak / GIB:.1f}" for cost in costs if cost.peak and "ours bf16" in cost.contender]
    measured = ", ".join(found) or "nothing: there is no GPU"
    value = f"{(peak.total - peak.workspace) / GIB:.1f} GiB, and {peak.workspace / GIB:g} assumed for workspaces"
    return Reading(f"{what}: predicted memory", value, note=f"measured: {measured}")


def _reading(what: str, cost: Cost, beside: str, goal: str) -> Reading:
    images = f"{cost.images / cost.seconds.median:.0f} images/s, {cost.seconds.text(1e3, 1)} ms"
    peak = f", {cost.peak / 2**30:.1f} GiB" if cost.peak is not None else ""
    launches = f", {cost.launches} launches" if cost.launches is not None else ""
    value = images + peak + launches
    if cost.ratio is None:
        return Reading(what, value)
    return Reading(what, value, cost.ratio.text(1, 2), beside, goal if cost.contender == "ours bf16" else "")


PART = Part("step", 1, 4.0, measure)
