"""A function or a tool on two gloo ranks, in processes forked from one that has imported what tools import."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.multiprocessing as multiprocessing

from helpers import tool_process
from helpers.tiny_runs import free_port


def both(deed, folder, *arguments):
    """What `deed(rank, ...)` returns on each of two ranks, as torch.load reads it."""
    started(_join, (deed, free_port(), str(folder), *arguments))
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


def started(deed, arguments, ranks=2):
    """As torch.multiprocessing.spawn: `deed(rank, *arguments)` in so many processes, until all have ended well."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(tool_process.IMPORTED)
    multiprocessing.start_processes(deed, arguments, nprocs=ranks, start_method="forkserver")


def tools(*commands, timeout=300):
    """What two commands [interpreter, script, arguments ...] said and how they ended, as ranks 0 and 1 of one start.

    Each is (command, what its environment has beyond this one). Raises TimeoutExpired where one of them hangs.
    """
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    def run(rank):
        words, more = commands[rank]
        env = os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | more
        return tool_process.run(words, env=env, timeout=timeout)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, range(2)))


def _join(rank, deed, port, folder, *arguments):
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # of a new interpreter, for a rank's own workers
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.save(deed(rank, *arguments), f"{folder}/{rank}.pth")
    for child in multiprocessing.active_children():  # loading workers, which os._exit would leave behind
        child.kill()
        child.join()
    os._exit(0)  # as a rank that a fault has ended: the others are to notice
