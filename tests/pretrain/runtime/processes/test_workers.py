"""Signals that reach every process of a run leave its loaders' workers at work; that of their own process ends them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pretrain.runtime.processes.workers import init_worker

COUNT = 40  # far more than the workers have read ahead when the signals come


class Numbers(Dataset):
    """The position of each item, and which process read it."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return torch.tensor([index, os.getpid()])


def _seeded(worker):
    torch.manual_seed(worker)


def _plain():
    return DataLoader(Numbers(), num_workers=2, worker_init_fn=init_worker, batch_size=None)


def _detectron2s():
    loading = pytest.importorskip("transfer.detection.data.loading")
    return loading.Watched(DataLoader(Numbers(), num_workers=2, worker_init_fn=_seeded, batch_size=None), "the split")


@pytest.mark.slow
@pytest.mark.parametrize("made", [_plain, _detectron2s])
def test_what_a_scheduler_sends_to_all_processes_ends_no_worker(made):
    batches = iter(made())
    seen = [next(batches), next(batches)]  # one of each worker: both have begun
    for name in ("USR2", "TERM"):  # from a process that is not the workers' own
        subprocess.run(
            ["kill", f"-{name}", *(str(child.pid) for child in multiprocessing.active_children())], check=True
        )
    seen += batches
    assert [int(index) for index, _ in seen] == list(range(COUNT))
    assert len({int(process) for _, process in seen}) == 2


@pytest.mark.slow
def test_their_own_process_ends_them():
    batches = iter(_plain())
    next(batches), next(batches)  # of each worker one: both have begun
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.terminate()
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
