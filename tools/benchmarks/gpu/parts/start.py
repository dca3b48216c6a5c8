"""How soon a run is at its first step: what compiling takes, cold and with what the run's folder kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from tools.benchmarks.gpu.part import Asked, Part, Reading


def measure(asked: Asked) -> Iterator[Reading]:
    """Two processes, of which the second finds what the first has compiled."""
    from tools.benchmarks.gpu.commands import run_command
    from tools.benchmarks.measure.step import Size

    size = Size("resnet18", 32, 4, 16) if asked.toy else Size("resnet50", 224, 256, 2048)
    words = ("-m", "tools.benchmarks.measure.first_step", json.dumps(asdict(size)), asked.device)
    for state in ("nothing compiled before", "the run's folder kept what was compiled"):
        print(f"waits for the first step, {state}", flush=True)
        seconds = float(run_command(*words, str(asked.scratch / "compiled")).splitlines()[-1])
        yield Reading(f"{size.arch}, 2x{size.size}, {size.batch}: to the first step, {state}", f"{seconds:.1f} s")


PART = Part("start", 7, 1.0, measure)
