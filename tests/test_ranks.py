"""Several ranks together equal one process: every row, through a ResNet with batch normalisation, and the tool."""

from __future__ import annotations

import os

import pytest
import torch
import torch.multiprocessing as multiprocessing
from tiny_runs import TINY, fixed_batch, free_port

from pretrain import comm
from pretrain.batchnorm import CrossRankBatchNorm
from pretrain.config import Config, load
from pretrain.data import Batch
from pretrain.learner import build
from pretrain.methods import ROWS
from pretrain.train import step

CASES = (*ROWS, "unigrad optim.accumulate=2", "byol optim.accumulate=2 optim.optimiser=lars")


def one_step(images, world_size, name):
    """Gradients, memory and the network after one float64 step on this rank's share of fixed images."""
    torch.set_default_dtype(torch.float64)
    name, *words = name.split()
    own = [*words, *(["method.queue_size=32"] if name == "moco" else [])]
    try:
        cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", f"method.name={name}", *own])
        learner = build(cfg, torch.device("cpu"))
        learner.dtype = torch.float64
        step(learner, Batch((images[:, comm.rank() :: world_size],), None, []), 1, 2)
    finally:
        torch.set_default_dtype(torch.float32)
    learning = {"network": learner.model.online, "predictor": learner.form}
    gradients = {
        f"{part} {name}": value.grad for part, module in learning.items() for name, value in module.named_parameters()
    }
    memory = {name: value for name, value in learner.form.state_dict().items() if isinstance(value, torch.Tensor)}
    return gradients, memory, learner.model.state_dict()


def join(rank, world_size, port, images, path):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    comm.start(torch.device("cpu"))
    torch.save({name: one_step(images, world_size, name) for name in CASES}, f"{path}/{rank}.pth")
    comm.stop()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What each of two gloo ranks has after a step of every row: one pool serves all rows."""
    path = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(join, (2, free_port(), fixed_batch(), str(path)), nprocs=2)
    return [torch.load(path / f"{rank}.pth", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_equal_one_process(two_ranks, name):
    alone = one_step(fixed_batch(), 1, name)
    for together in two_ranks:
        for one, two in zip(alone, together[name], strict=True):
            assert one.keys() == two.keys()
            for key in one:
                same = sorted_rows if key == "samples.rows" else torch.Tensor  # a queue's order is that of the ranks
                torch.testing.assert_close(same(two[key]), same(one[key]), rtol=1e-9, atol=1e-12)


def sorted_rows(rows):
    return rows[rows[:, 0].argsort()]


def test_cross_rank_batchnorm_in_one_process_is_batchnorm():
    ours, theirs = CrossRankBatchNorm(3).double(), torch.nn.BatchNorm2d(3).double()
    for maps in torch.randn(2, 5, 3, 4, 4, dtype=torch.float64):
        one, other = maps.clone().requires_grad_(), maps.clone().requires_grad_()
        torch.testing.assert_close(ours(one), theirs(other))
        ours(one).square().sum().backward(), theirs(other).pow(3).sum().backward()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    for module in (ours, theirs):
        module.eval()
    torch.testing.assert_close(ours(maps), theirs(maps))
