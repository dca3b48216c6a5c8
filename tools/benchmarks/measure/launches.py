"""How often the host launches something in a training step, as torch's profiler sees it on a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

LAUNCH = re.compile(r"cu(da)?(LaunchKernel|GraphLaunch|Memcpy|Memset)\w*$")  # calls of CUDA's runtime and driver


def count(call: Callable[[], object]) -> int:
    """Kernels, graphs, copies and fills that the host launches in one `call`; 0 without a GPU."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    return sum(event.count for event in seen.key_averages() if LAUNCH.match(event.key))
