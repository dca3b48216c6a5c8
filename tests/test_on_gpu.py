"""On a GPU: training, features, k-NN and heads compute what they compute on the CPU, and nothing is told uncompiled.

Each test runs the same code on both devices in float32 without TF32, or in float64. Skipped without a GPU.
"""

from __future__ import annotations

import copy

import pytest
import torch

from helpers.tiny_runs import TINY, configure, fixed_batch, write_images
from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.engine.learner import build
from pretrain.methods import ROWS
from pretrain.step import step
from pretrain.train import train
from transfer.classifiers import knn
from transfer.classifiers.linear import racing_heads, sgd_heads
from transfer.classifiers.linear.head_options import Head
from transfer.features.rows import Features

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def exact():
    """No TF32, which has 10 bits of mantissa."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def trained(device, *words, steps=3):
    """A learner after some steps on a fixed batch, and the last step's losses."""
    learner = build(load(Config, None, [*TINY, "run_dir=r", "data.root=d", *words]), device)
    for done in range(1, 1 + steps):
        stepped = step(learner, Batch((fixed_batch(),), None, []), done, 10)
    return learner, {name: value.item() for name, value in stepped.values.items()}


@pytest.mark.parametrize("name", ROWS)
def test_steps_of_every_row_are_those_of_the_cpu(name):
    """Losses after three steps; the weights differ by float32's rounding, which training enlarges."""
    words = [f"method.name={name}", "run.compile=false"]
    (_, theirs), (_, ours) = (trained(device, *words) for device in (CPU, GPU))
    assert ours == pytest.approx(theirs, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("words", ["", "mixing.cutmix_alpha=1", "optim.accumulate=2", "optim.optimiser=lars"])
def test_the_first_step_has_the_cpus_weights(words):
    chosen = ["run.compile=false", *words.split()]
    (theirs, _), (ours, _) = (trained(device, *chosen, steps=1) for device in (CPU, GPU))
    for name, value in theirs.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name].cpu(), value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_step_is_the_plain_one(precision, capsys):
    words = [f"run.precision={precision}"]
    _, compiled = trained(GPU, "run.compile=true", *words, steps=2)
    _, plain = trained(GPU, "run.compile=false", *words, steps=2)
    bound = 2e-2 if precision == "bf16" else 2e-3
    assert compiled == pytest.approx(plain, rel=bound, abs=bound)
    assert "uncompiled" not in capsys.readouterr().err


@pytest.mark.parametrize("words", ["", "mixing.cutmix_alpha=1", "optim.accumulate=2", "method.name=byol"])
def test_steps_by_cuda_graphs_are_those_of_the_kernels_that_they_record(words, capsys):
    """Five steps: the first warms up, the second records, the others launch what was recorded."""
    chosen = ["run.precision=fp32", *words.split()]
    graphs, found = trained(GPU, "run.cuda_graphs=true", *chosen, steps=5)
    plain, expected = trained(GPU, *chosen, steps=5)
    assert found == pytest.approx(expected, rel=2e-3, abs=2e-3)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(graphs.model.state_dict()[name], value, rtol=1e-2, atol=1e-3, msg=name)
    assert "skipping cudagraphs" not in capsys.readouterr().err


@pytest.mark.parametrize("optimiser", ["sgd", "lars"])
def test_a_step_in_half_precision_that_overflows_changes_no_weight(optimiser):
    words = [f"optim.optimiser={optimiser}", "run.precision=fp16", "run.compile=false"]
    learner, _ = trained(GPU, *words, steps=1)
    before = copy.deepcopy(dict(learner.model.online.named_parameters()))
    scale = learner.scaler.get_scale()
    learner.scaler.update(2.0**40)
    step(learner, Batch((fixed_batch(),), None, []), 2, 10)
    for name, parameter in learner.model.online.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert learner.scaler.get_scale() == 2.0**39 != scale


def test_a_run_that_is_stopped_and_resumed_ends_as_one_that_is_not(tmp_path):
    (tmp_path / "images").mkdir()
    images = write_images(tmp_path / "images")
    words = ["run.device=cuda", "run.compile=false"]
    straight = train(configure(images, tmp_path / "straight", *words))
    train(configure(images, tmp_path / "broken", *words))
    kept = sorted((tmp_path / "broken" / "checkpoints").glob("step_*.pth"))
    kept[-1].unlink()
    resumed = train(configure(images, tmp_path / "broken", *words))
    one, other = (torch.load(path, weights_only=True) for path in (straight, resumed))
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][name], value, rtol=1e-4, atol=1e-5, msg=name)


def rows(count, seed):
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))


def test_neighbours_are_those_of_the_cpu():
    bank, queries = rows(5000, 0), rows(300, 1)
    (theirs, at), (ours, there) = (knn.nearest(bank.double(), queries.double(), 20, device) for device in (CPU, GPU))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert torch.equal(there, at)


def test_racing_heads_are_those_of_the_cpu():
    labels = torch.arange(600) % 3
    features = Features(rows(600, 2) + 3 * rows(3, 3)[labels], labels, (), (), 0.0)
    options = Head(epochs=4)
    chosen = sgd_heads.settings(options, options.batch_size)
    (theirs, *_), (ours, *_) = (
        racing_heads.race(features, 3, options, chosen, 0.1, 0, device) for device in (CPU, GPU)
    )
    assert ours.settings == theirs.settings
    torch.testing.assert_close(ours.weight.cpu(), theirs.weight, rtol=1e-2, atol=1e-3)
