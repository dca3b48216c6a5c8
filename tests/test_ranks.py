"""Several ranks together equal one process: every row, through a ResNet with batch normalisation, and the tool."""

from __future__ import annotations

import os

import pytest
import torch
import torch.multiprocessing as multiprocessing
from tiny_runs import TINY, fixed_batch, free_port

from pretrain import comm
from pretrain.config import Config, load
from pretrain.data import Batch
from pretrain.learner import build
from pretrain.methods import ROWS
from pretrain.train import step

OWN_SAMPLES = "unigrad method.negative_target=stop_gradient"
CASES = (*ROWS, OWN_SAMPLES, "unigrad optim.accumulate=2", "byol optim.accumulate=2 optim.optimiser=lars")
LISTENED_TO = ("unigrad", "directpred", OWN_SAMPLES)


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


def told_to_others(images, world_size, name):
    """What a step does, in its order: passes of a branch and all-reduces, named by what they carry."""
    events, reduce = [], torch.distributed.all_reduce

    def recorded(value, *arguments, **keywords):
        events.append("F" if value.shape == (16, 16) else "norm")
        assert keywords == {"async_op": True} or events[-1] == "norm"
        return reduce(value, *arguments, **keywords)

    words = f"method.name={name}".split()
    learner = build(load(Config, None, [*TINY, "run_dir=r", "data.root=d", *words]), torch.device("cpu"))
    learner.model.target.register_forward_pre_hook(lambda *_: events.append("target"))
    learner.model.online.register_forward_pre_hook(lambda *_: events.append("online"))
    learner.model.online.register_full_backward_pre_hook(lambda *_: events.append("backward"))
    torch.distributed.all_reduce = recorded
    try:
        step(learner, Batch((images[:, comm.rank() :: world_size],), None, []), 1, 2)
    finally:
        torch.distributed.all_reduce = reduce
    return events


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
    steps = {name: one_step(images, world_size, name) for name in CASES}
    steps["events"] = {name: told_to_others(images, world_size, name) for name in LISTENED_TO}
    torch.save(steps, f"{path}/{rank}.pth")
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


def test_one_collective_a_norm_serves_both_views(two_ranks):
    """20 norms in a ResNet-18, 1 in its projector: forward in each branch, backward in one of them."""
    for together in two_ranks:
        events = together["events"]["unigrad"]
        target, online = events.index("target"), events.index("online")
        assert target < online
        after = events[online:]
        assert events[:online].count("norm") == 21
        assert after[: after.index("backward")].count("norm") == after[after.index("backward") :].count("norm") == 21


@pytest.mark.parametrize("name", LISTENED_TO)
def test_f_travels_while_the_online_branch_computes_where_its_samples_are_there(two_ranks, name):
    for together in two_ranks:
        events = together["events"][name]
        early = events[events.index("target") : events.index("online")]
        assert events.count("F") == 1 and ("F" in early) == (name != OWN_SAMPLES)
