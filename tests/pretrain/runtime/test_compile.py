"""Compiled or not, the same numbers and names; and a compiler that fails costs a sentence, not the run."""

from __future__ import annotations

import copy

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import aot_eager

from helpers.tiny_runs import TINY, tiny_branch
from pretrain.config import Config, load
from pretrain.engine import accumulation
from pretrain.engine.learner import build
from pretrain.models.siamese import project
from pretrain.runtime.compile import compiled


def broken(graph, inputs):
    raise RuntimeError("no g++ here\nand much more")


def working(graph, inputs):
    return graph


FAILURES = {
    "forward": ("no g++ here", broken),
    "backward": ("no g++ here", aot_autograd(fw_compiler=working, bw_compiler=broken)),
    "trace": ("", aot_eager),
}


@pytest.mark.parametrize("failing", FAILURES)
def test_where_compiling_fails_the_function_runs_as_written_and_says_why_once(failing, capsys):
    def twice(values):
        if failing == "trace":
            values.norm().item() > 1 and print(end="")  # what no graph can hold
        return 2 * values.square()

    reason, backend = FAILURES[failing]
    careful = compiled(twice, "the sum", backend)
    for _ in range(2):
        values = torch.tensor([1.0, 3.0], requires_grad=True)
        careful(values).sum().backward()
        assert values.grad.tolist() == [4, 12]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the sum runs uncompiled, and slower: ") and reason in line


def test_a_compiled_branch_learns_as_the_plain_one_does(capsys):
    """Global and local views, a target pass, and a batch in parts: rows, gradients, statistics and names."""
    plain = tiny_branch()
    ours = copy.deepcopy(plain)
    ours.project = compiled(project, "the network", "aot_eager")
    views = [torch.randn(2, 4, 3, 8, 8, dtype=torch.float64), torch.randn(3, 4, 3, 6, 6, dtype=torch.float64)]
    weights = torch.randn(5, 4, 5, dtype=torch.float64)
    for branch in (ours, plain):
        with torch.no_grad():
            branch(views[:1])
        (branch(views) * weights).sum().backward()
        accumulation.send_back(branch, views, weights, 2)
    pairs = zip(ours.named_parameters(), plain.parameters(), strict=True)
    for name, value, expected in ((name, value.grad, other.grad) for (name, value), other in pairs):
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12, msg=name)
    assert list(ours.state_dict()) == list(plain.state_dict()) and not capsys.readouterr().err
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=0, atol=1e-12)


def test_a_compiled_run_has_the_names_of_any_other():
    plain, ours = (
        build(load(Config, None, [*TINY, f"run.compile={choice}"]), torch.device("cpu")) for choice in ("null", "true")
    )
    assert list(ours.model.state_dict()) == list(plain.model.state_dict())
    assert (
        plain.model.online.project is project and ours.model.online.project is ours.model.target.project is not project
    )
