"""Faults planted on one of two ranks: none is answered by a second pass or a wait without end, each by one sentence."""

from __future__ import annotations

import contextlib
import copy
import io
import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch
from torch import nn
from torch._dynamo.backends.debugging import aot_eager

from helpers.tiny_runs import configure, fixed_batch, tiny_branch, write_images
from helpers.two_ranks import both
from pretrain.data.loader import StepSampler
from pretrain.data.sources import open_source
from pretrain.engine.learner import build
from pretrain.models.siamese import project
from pretrain.runtime import distributed
from pretrain.runtime.devices import device_memory
from pretrain.runtime.devices.compile import compiled
from pretrain.runtime.errors import Lost, UserError
from pretrain.runtime.processes.signals import Wish
from pretrain.train import run, train

CPU = torch.device("cpu")


def learned(branch):
    """One pass and its gradients on this rank's share of fixed images: rows, gradients and running statistics."""
    branch.zero_grad()
    rows = distributed.data_parallel(branch, CPU)([fixed_batch()[:, distributed.rank() :: 2].double() / 255])
    rows.square()[..., 0].mean().backward()
    gradients = {name: value.grad for name, value in branch.named_parameters()}
    return copy.deepcopy({"rows": rows.detach(), **gradients, **branch.state_dict()})


class Backend:
    """A backend, but that rank 1 does something before it compiles; counts the graphs."""

    def __init__(self, deed, backend=aot_eager):
        self.deed, self.backend, self.graphs = deed, backend, 0

    def __call__(self, graph, inputs):
        if distributed.rank() == 1:
            self.deed(graph, self.graphs)
        self.graphs += 1
        return self.backend(graph, inputs)


def three_passes(backend, between=None, branch=tiny_branch):
    """How far three passes of a compiled branch are from a plain one's, `between` before the last; what was told."""
    ours, plain = branch(), branch()
    ours.project = compiled(project, "the network", backend)
    apart = []
    with contextlib.redirect_stderr(io.StringIO()) as told:
        for number in range(3):
            if number == 2 and between:
                between()
            one, other = learned(ours), learned(plain)
            apart += [float((one[name] - other[name]).abs().max()) for name in other]
    return {"apart": max(apart), "graphs": backend.graphs, "told": told.getvalue()}


def compiling_apart(rank):
    """Rank 1 compiles later than rank 0, once more, and not at all; both compile in parts; rank 1 no longer can."""
    distributed.start(CPU)

    def forget():
        if rank == 1:
            torch._dynamo.reset()

    def refuse(graph, number):
        raise RuntimeError("no g++ here")

    late = three_passes(Backend(lambda graph, number: time.sleep(1)), between=forget)
    never = three_passes(Backend(refuse))
    cut = three_passes(Backend(lambda graph, number: None), branch=wide_branch)
    return {"late": late, "never": never, "cut": cut, "again": no_longer(forget, refuse)}


def no_longer(forget, refuse):
    """The sentence on each rank where rank 1 compiles once more, and fails, while rank 0 has gone on."""
    branch, backend = tiny_branch(), Backend(lambda graph, number: number and refuse(graph, number))
    branch.project = compiled(project, "the network", backend)
    learned(branch)
    forget()
    with pytest.raises((UserError, Lost)) as error, distributed.departure_told():
        learned(branch)
    return str(error.value)


def wide_branch():
    """A branch whose gradients fill more than one of DDP's buckets, so that its graph is cut."""
    branch = tiny_branch()
    width = 1850  # its square in float64 is above 25 MiB
    layers = (nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 4))
    branch.projector = nn.Sequential(*(layer.double() for layer in layers), branch.projector)
    return branch


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    return both(compiling_apart, tmp_path_factory.mktemp("apart"))


@pytest.mark.parametrize("case", ["late", "never", "cut"])
def test_ranks_that_compile_apart_learn_as_plain_ones_do(apart, case):
    assert all(told[case]["apart"] < 1e-12 for told in apart)


def test_a_branch_of_several_buckets_runs_compiled_in_several_graphs(apart):
    assert all(told["cut"]["graphs"] > 1 and not told["cut"]["told"] for told in apart)


def test_a_rank_that_alone_can_no_longer_compile_ends_the_run_in_a_sentence(apart):
    lost, ended = (told["again"] for told in apart)
    assert ended.startswith("rank 1 can no longer compile the network as the other ranks have (") and "no g++" in ended
    assert ended.endswith("start again with run.compile=false.") and lost.startswith("rank 0 has lost the others")


def test_a_rank_that_compiles_later_or_once_more_stays_compiled_and_in_step(apart):
    assert [told["late"]["graphs"] for told in apart] == [1, 2] and not any(told["late"]["told"] for told in apart)


def test_where_one_rank_cannot_compile_all_run_uncompiled_and_rank_0_says_why_once(apart):
    assert [told["never"]["graphs"] for told in apart] == [1, 0]
    lines = [told["never"]["told"].splitlines() for told in apart]
    assert lines[1] == [] and len(lines[0]) == 1
    assert lines[0][0].startswith("the network runs uncompiled on all ranks, and slower: rank 1, ")
    assert "no g++ here" in lines[0][0]


def exhausted(graph, number):
    """Plants an error in the middle of the graph."""

    def exhaust():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    calls = [node for node in graph.graph.nodes if node.op == "call_function"]
    with graph.graph.inserting_after(calls[len(calls) // 2]):
        graph.graph.call_function(exhaust)
    graph.recompile()


def out_of_memory(rank):
    distributed.start(CPU)
    branch = tiny_branch()
    branch.project = compiled(project, "the network", Backend(exhausted, lambda graph, inputs: graph))
    with (
        contextlib.redirect_stderr(io.StringIO()) as told,
        pytest.raises((UserError, Lost)) as error,
        distributed.departure_told(),
        device_memory.shortage_told(CPU, "raise optim.accumulate=1"),
    ):
        learned(branch)
    return {"error": str(error.value), "told": told.getvalue(), "passes": branch.trunk[1].num_batches_tracked}


def test_memory_that_runs_out_in_one_ranks_graph_ends_both_in_a_sentence(tmp_path):
    (lost, ended) = both(out_of_memory, tmp_path)
    assert not lost["told"] and not ended["told"]
    assert ended["error"].startswith("the memory of cpu of rank 1 has run out (CUDA out of memory. Tried to")
    assert "GiB, of which this process has" in ended["error"] and "raise optim.accumulate=1" in ended["error"]
    assert lost["error"].startswith("rank 0 has lost the others: one of them has ended, and says why")
    assert ended["passes"] <= 1  # the graph ran once: statistics of a view are updated in turn


def alarmed(rank, images, folder):
    """A run in which the rows of rank 1 are no numbers in the second step."""
    cfg = configure(images, folder, "run.log_every=3")
    distributed.start(CPU)
    learner, passes = build(cfg, CPU), []

    def poison(module, inputs, rows):
        passes.append(None)
        return rows * torch.nan if rank == 1 and len(passes) == 2 else rows

    learner.model.online.normalisation.register_forward_hook(poison)
    source = open_source(images, 0)
    with pytest.raises((UserError, Lost)) as error:
        run(cfg, source, StepSampler(len(source), 8, 3, 0, rank, 2), learner, Wish())
    return str(error.value)


def test_an_alarm_names_the_rank_whose_rows_are_no_numbers(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    told = both(alarmed, tmp_path, str(write_images(images)), str(tmp_path / "run"))
    assert told[0] == told[1] and "is not finite from step 2 on (first on rank 1); lower optim.base_lr" in told[0]


def bereaved(rank, images, folder):
    """A run in which a loading worker of rank 1 is killed once a checkpoint is there."""

    def kill():
        while not list((folder / "checkpoints").glob("step_*.pth")) or not multiprocessing.active_children():
            time.sleep(0.05)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    if rank == 1:
        threading.Thread(target=kill, daemon=True).start()
    with pytest.raises((UserError, Lost)) as error:
        train(configure(images, folder, "data.workers=1", "optim.epochs=10000", "run.checkpoint_every_epochs=1"))
    return str(error.value)


def test_a_worker_that_dies_on_one_rank_ends_both_in_a_sentence(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    lost, ended = both(bereaved, tmp_path, str(write_images(images)), tmp_path / "run")
    assert ended.startswith(f"a worker that reads {images} has died")
    assert lost.startswith("rank 0 has lost the others")
