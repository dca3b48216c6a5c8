"""Every task of tools/benchmark.py: one module each, with its TASK; a module that is dropped into this folder is found.

The modules import torch when they run, not when they are loaded, so that --help answers at once.
"""

from __future__ import annotations

from pretrain.runtime.registry import collect
from tools.benchmarks.task import Task

TASKS: dict[str, Task] = {task.name: task for task in collect(__name__, "TASK")}
