"""Several ranks together equal one process: every row, through a ResNet with batch normalisation, and the tool."""

from __future__ import annotations

import contextlib
import gc
import os

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager

from helpers.tiny_runs import ARCH, TINY, fixed_batch, free_port, tiny_branch
from helpers.two_ranks import started
from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.engine.learner import build
from pretrain.methods import ROWS, keywords
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.models.siamese import project
from pretrain.models.trunks import build_trunk
from pretrain.runtime import distributed
from pretrain.runtime.devices.compile import compiled
from pretrain.step import step

OWN_SAMPLES = "unigrad method.negative_target=stop_gradient"
MOST = 2000  # values of a tensor that are compared one by one
CASES = (*ROWS, OWN_SAMPLES, "unigrad optim.accumulate=2", "byol optim.accumulate=2 optim.optimiser=lars")


@contextlib.contextmanager
def listening(model):
    """What a step does, in its order: passes of a branch and all-reduces, named by what they carry."""
    events, reduce = [], torch.distributed.all_reduce

    def recorded(value, *arguments, **keywords):
        events.append("F" if value.numel() == 16 * 17 // 2 and "group" in keywords else "norm")
        assert keywords.get("async_op", False) == (events[-1] == "F")
        return reduce(value, *arguments, **keywords)

    def tell_of_backward(module, inputs, rows):
        if rows.requires_grad:
            rows.register_hook(lambda _: events.append("backward"))

    model.target.register_forward_pre_hook(lambda *_: events.append("target"))
    model.online.register_forward_pre_hook(lambda *_: events.append("online"))
    model.online.register_forward_hook(tell_of_backward)
    torch.distributed.all_reduce = recorded
    try:
        yield events
    finally:
        torch.distributed.all_reduce = reduce


def one_step(images, world_size, name):
    """Gradients, memory, the network and the events of one float64 step on this rank's share of fixed images."""
    torch.set_default_dtype(torch.float64)
    name, *words = name.split()
    own = [*words, *(["method.queue_size=32"] if "queue_size" in keywords(name) else [])]
    try:
        cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", f"method.name={name}", *own])
        learner = build(cfg, torch.device("cpu"))
        learner.dtype = torch.float64
        with listening(learner.model) as events:
            step(learner, Batch((images[:, distributed.rank() :: world_size],), None, []), 1, 2)
    finally:
        torch.set_default_dtype(torch.float32)
    learning = {"network": learner.model.online, "predictor": learner.form}
    gradients = {
        f"{part} {name}": value.grad for part, module in learning.items() for name, value in module.named_parameters()
    }
    memory = {name: value for name, value in learner.form.state_dict().items() if isinstance(value, torch.Tensor)}
    return gradients, memory, learner.model.state_dict(), events


def gradients_compiled_and_not(images, world_size):
    """Of a data-parallel branch, and how many graphs were compiled for it."""
    graphs, gradients = [], []

    def counting(graph, inputs):
        graphs.append(aot_eager(graph, inputs))
        return graphs[-1]

    for function in (project, compiled(project, "the network", counting)):
        branch = tiny_branch()
        branch.project = function
        views = images[:, distributed.rank() :: world_size].double() / 255
        distributed.data_parallel(branch, torch.device("cpu"))([views]).square()[..., 0].mean().backward()
        gradients.append({name: value.grad for name, value in branch.named_parameters()})
    return *gradients, len(graphs)


def join(rank, world_size, port, images, path):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    distributed.start(torch.device("cpu"))
    for name in CASES:  # one in memory at a time
        *step_of_one, events = one_step(images, world_size, name)
        torch.save([*map(shown, step_of_one)], path_of(path, rank, name))
        torch.save(events, path_of(path, rank, f"{name} events"))
        del step_of_one
        gc.collect()
    torch.save(gradients_compiled_and_not(images, world_size), path_of(path, rank, "compiled"))
    distributed.stop()


def shown(tensors):
    """Of each tensor its sum, its norm and MOST values evenly spread, or all: whole networks would be 12 GB on disk."""
    return {
        name: torch.cat([value.double().sum()[None], value.double().norm()[None], spread(value)])
        for name, value in ((name, in_order(name, value)) for name, value in tensors.items())
    }


def spread(value):
    flat = value.flatten().double()
    return flat if len(flat) <= MOST else flat[:: len(flat) // MOST]


def in_order(name, value):
    """A queue's rows by their first number: their order is that of the ranks."""
    return value[value[:, 0].argsort()] if name == "samples.rows" else value


def path_of(folder, rank, what):
    return f"{folder}/{rank} {what}.pth"


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What each of two gloo ranks has after a step of a row, by the row: one pool serves all rows."""
    path = tmp_path_factory.mktemp("ranks")
    started(join, (2, free_port(), fixed_batch(), str(path)))
    return lambda what: [torch.load(path_of(path, rank, what), weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_equal_one_process(two_ranks, name):
    alone = [*map(shown, one_step(fixed_batch(), 1, name)[:3])]
    for together in two_ranks(name):
        for one, two in zip(alone, together, strict=True):
            assert one.keys() == two.keys()
            for key in one:
                torch.testing.assert_close(two[key], one[key], rtol=1e-9, atol=1e-12, msg=key)


def test_one_collective_a_norm_serves_both_views(two_ranks):
    """Those of the trunk and 1 in the projector: forward in each branch, backward in one of them."""
    norms = 1 + sum(isinstance(one, ViewBatchNorm) for one in build_trunk(ARCH)[0].modules())
    for events in two_ranks("unigrad events"):
        target, online = events.index("target"), events.index("online")
        assert target < online
        after = events[online:]
        assert events[:online].count("norm") == norms
        assert after[: after.index("backward")].count("norm") == after[after.index("backward") :].count("norm") == norms


@pytest.mark.parametrize("name", ["unigrad", "directpred", OWN_SAMPLES])
def test_f_travels_while_the_online_branch_computes_where_its_samples_are_there(two_ranks, name):
    for events in two_ranks(f"{name} events"):
        early = events[events.index("target") : events.index("online")]
        assert events.count("F") == 1 and ("F" in early) == (name != OWN_SAMPLES)


def test_one_graph_holds_a_branch_and_what_it_says_to_other_ranks(two_ranks):
    for plain, ours, graphs in two_ranks("compiled"):
        assert graphs == 1
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
