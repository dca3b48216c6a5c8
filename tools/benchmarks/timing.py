"""Timings that can be compared: contenders take turns, so that other load on the machine slows all of them alike."""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pretrain.runtime import provenance
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json


class Spread(NamedTuple):
    """Median and quartiles of `repeats` values."""

    median: float
    low: float
    high: float
    repeats: int

    def text(self, scale: float, digits: int) -> str:
        """`median [low, high]`, each times `scale`."""
        median, low, high = (f"{scale * value:.{digits}f}" for value in self[:3])
        return f"{median} [{low}, {high}]"


def spread(values: list[float]) -> Spread:
    """Median and quartiles; of a single value, that value three times."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return Spread(median, low, high, len(values))


WALL = "the clock on the wall: whatever else this machine does adds to it"


def faster(reference: list[float], own: list[float]) -> Spread:
    """Ratio of the reference's time to our own, taken in each round; above 1 where ours is faster."""
    return spread([one / other for one, other in zip(reference, own, strict=True)])


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Time of one call: between two CUDA events, or as CPU time, which leaves out other processes."""
    if device.type != "cuda":
        start = time.process_time()
        call()
        return time.process_time() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    first.record()
    call()
    last.record()
    torch.cuda.synchronize(device)
    return float(first.elapsed_time(last)) / 1e3


def wall_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Time of one call by the wall clock, for work shared by several processes; other load adds to it."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    clock: Callable[[Callable[[], object], torch.device], float] = seconds,
) -> dict[str, list[float]]:
    """Seconds of each call of each contender. A round calls every contender once, so its values can be paired.

    Args:
        contenders: by name, what is timed.
        repeats: number of rounds.
        device: where the calls run.
        clock: from a call and the device to the seconds that it took.

    Returns: for each contender, `repeats` times in seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            times[name].append(clock(call, device))
    return times


def environment(device: torch.device) -> dict[str, str | int | float | None]:
    """Where the numbers were measured: versions, processor, threads, load, GPU, commit."""
    on_gpu = device.type == "cuda"
    return {
        "clock": "CUDA events" if on_gpu else "CPU time of the process, all threads together",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "float32_matmul": torch.get_float32_matmul_precision(),
        "commit": provenance.commit(),
    }


def write(path: Path, about: dict[str, Any], results: list[Any]) -> None:
    """Write results, which are dataclasses, and the environment they were measured in, as JSON.

    Raises:
        UserError: the file cannot be written.
    """
    rows = [dataclasses.asdict(result) | _unfolded(result) for result in results]
    try:
        write_json(path, {"environment": about, "results": rows})
    except OSError as error:
        raise UserError(f"--json {path} cannot be written: {error.strerror or error}.") from error


def _unfolded(result: Any) -> dict[str, dict[str, float]]:
    """Spreads as dictionaries: JSON would turn the tuples into lists."""
    return {name: value._asdict() for name, value in vars(result).items() if isinstance(value, Spread)}


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
