"""What every test shares: one thread, the mark of those that `make check` leaves to `make test`, and those of a GPU.

One thread, so that sums are added in one order and parallel runs do not fight over cores.
"""

import os

import pytest
import torch

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the processes that tests start
os.environ["UNIGRAD_CLUSTER"] = ""  # a site's file of whoever runs the tests is none of theirs
os.environ.pop("UNIGRAD_DATA", None)

# a test module that imports one of these starts processes; a test that is slow for another reason is marked where it is
STARTERS = {
    "subprocess",
    "multiprocessing",
    "helpers.launched",
    "helpers.recipes",
    "helpers.tiny_runs",
    "helpers.tool_process",
    "helpers.two_ranks",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of a module that starts processes as slow, and let the longest files begin first."""
    no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(no_gpu)
        values = vars(item.module).values()
        names = {
            name for value in values for name in (getattr(value, "__name__", ""), getattr(value, "__module__", ""))
        }
        if STARTERS & {name for name in names if isinstance(name, str)}:
            item.add_marker(pytest.mark.slow)
    # those of a real SLURM wait for its timers: what begins last would run alone to the end
    items.sort(key=lambda item: (item.path.parent.name != "slurm", item.get_closest_marker("slow") is None))
