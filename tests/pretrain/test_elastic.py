"""Elastic restarts: the agent of torchrun starts the ranks anew after one was killed, and the run ends as if whole."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from helpers import tiny_runs, tool_process
from pretrain.engine.monitor.metrics_file import last_line
from pretrain.runtime import distributed
from tools import pretrain

RANKS = 2


def _agreed(store: dist.Store, order: list[int]) -> list[str]:
    """What the ranks of one start agree on, where they come in this order."""
    found: dict[int, str] = {}
    ranks = []
    for rank in order:
        ranks.append(
            threading.Thread(target=lambda rank=rank: found.update({rank: distributed.agreed_token(store, rank, 3)}))
        )
        ranks[-1].start()
        time.sleep(0.1)  # so that those before have read all that an earlier start has left
    for rank in ranks:
        rank.join(30)
    return [found[rank] for rank in range(3)]


def test_starts_in_one_store_never_read_what_an_earlier_one_has_left() -> None:
    store = dist.HashStore()
    store.set("word-of-2", "of-a-rank-that-died-before-it-was-answered")
    agreed = [_agreed(store, order) for order in ([0, 1, 2], [0, 2, 1], [2, 1, 0])]
    assert all(len(set(tokens)) == 1 for tokens in agreed) and len({tokens[0] for tokens in agreed}) == 3


def _rank(words: list[str], folder: str) -> None:
    """What torchrun would start, as a worker of its agent."""
    torch.set_num_threads(1)
    Path(folder, f"{os.environ['RANK']}-{os.environ['TORCHELASTIC_RESTART_COUNT']}").write_text(str(os.getpid()))
    pretrain.main(words)


def _kill(run: Path, folder: Path) -> None:
    """Kill -9 rank 1 of the first start once the run has a checkpoint and is beyond it."""
    while (last_line(run) or {"step": 0})["step"] < 3:
        time.sleep(0.02)
    os.kill(int((folder / "1-0").read_text()), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_worker_is_started_anew_and_the_run_ends_as_one_that_was_whole(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    tiny_runs.write_images(tmp_path / "images")
    multiprocessing.get_context("forkserver").set_forkserver_preload(tool_process.IMPORTED)
    for name, restarts in (("whole", 0), ("killed", 1)):
        (tmp_path / f"{name}-pids").mkdir()
        words = [*tiny_runs.TINY, "run.threads=1", "optim.epochs=3", "run.checkpoint_every_epochs=1"]
        words += [f"data.root={tmp_path}/images", f"run_dir={tmp_path / name}"]
        config = LaunchConfig(
            *(1, 1, RANKS), run_id=name, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="forkserver",
            max_restarts=restarts, monitor_interval=0.1,
        )  # fmt: skip
        if restarts:
            threading.Thread(target=_kill, args=(tmp_path / name, tmp_path / "killed-pids"), daemon=True).start()
        elastic_launch(config, _rank)(words, str(tmp_path / f"{name}-pids"))
    assert sorted(path.name for path in (tmp_path / "killed-pids").iterdir()) == ["0-0", "0-1", "1-0", "1-1"]
    tiny_runs.assert_same_run(tmp_path / "killed", tmp_path / "whole")
