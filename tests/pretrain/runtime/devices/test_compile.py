"""Compiled or not, the same numbers and names; and a compiler that fails costs a sentence, not the run."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import aot_eager
from torch._dynamo.utils import counters

from helpers.tiny_runs import TINY, tiny_branch
from pretrain.config import Config, load
from pretrain.engine import accumulation
from pretrain.engine.learner import build
from pretrain.models.siamese import project
from pretrain.runtime.devices import compile
from pretrain.runtime.devices.compile import compiled


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


class Scaled(torch.autograd.Function):
    """A square whose gradient has a factor of its own."""

    @staticmethod
    def forward(ctx, one, factor):
        ctx.save_for_backward(one)
        ctx.factor = factor
        return one.square()

    @staticmethod
    def backward(ctx, gradient):
        (one,) = ctx.saved_tensors
        return ctx.factor * gradient * one * 2, None


@pytest.fixture
def no_cache(monkeypatch):
    """As in a process in which nobody has said where the compiler keeps what it makes."""
    monkeypatch.setenv(compile.CACHE, "")
    monkeypatch.setattr(compile, "_kept", {})
    with torch._inductor.config.patch(compile_threads=1):
        yield
    torch._dynamo.reset()


def test_what_a_run_has_compiled_is_read_when_it_starts_again_unless_it_does_something_else(tmp_path, no_cache):
    found = []
    for factor in (2.0, 2.0, 3.0):
        torch._dynamo.reset()
        counters.clear()
        compile.keep_compiled(tmp_path / ".compiled")
        values = torch.tensor([1.0, 3.0], requires_grad=True)
        compiled(lambda one, factor=factor: Scaled.apply(one, factor), "the sum")(values).sum().backward()
        assert values.grad.tolist() == [2 * factor, 6 * factor]
        found.append([counters["aot_autograd"][f"autograd_cache_{name}"] for name in ("hit", "miss")])
    assert found == [[0, 1], [1, 0], [0, 1]]
    assert any(path.is_file() for path in (tmp_path / ".compiled").rglob("*"))


def test_the_compilers_folder_is_the_runs_unless_a_user_chose_another_or_owns_it(tmp_path, no_cache, monkeypatch):
    for run in ("one", "two"):
        compile.keep_compiled(tmp_path / run)
        assert os.environ[compile.CACHE] == str(tmp_path / run)
    (tmp_path / "strange").mkdir()
    with monkeypatch.context() as another:
        another.setattr(os, "getuid", lambda: (tmp_path / "strange").stat().st_uid + 1)
        compile.keep_compiled(tmp_path / "strange")
    assert os.environ[compile.CACHE] == str(tmp_path / "two")
    monkeypatch.setenv(compile.CACHE, "/mine")
    compile.keep_compiled(tmp_path / "one")
    assert os.environ[compile.CACHE] == "/mine"


def test_runs_of_one_comparison_share_a_folder_unless_a_user_chose_another(tmp_path, monkeypatch):
    monkeypatch.delenv(compile.CACHE, raising=False)
    with compile.shared_compiled(tmp_path):
        shared = os.environ[compile.CACHE]
        compile.keep_compiled(tmp_path / "run" / compile.FOLDER)  # what each of the runs does
        assert os.environ[compile.CACHE] == shared == str(tmp_path / compile.FOLDER)
    assert compile.CACHE not in os.environ
    monkeypatch.setenv(compile.CACHE, "/mine")
    with compile.shared_compiled(tmp_path):
        assert os.environ[compile.CACHE] == "/mine"
