"""A loss that is not finite on any rank: no step after it, told within 20 iterations, never written as a checkpoint."""

from __future__ import annotations

import copy
import json

import pytest

pytest.importorskip("detectron2")

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import SimpleTrainer, hooks
from detectron2.utils.events import JSONWriter
from torch import nn

from helpers.two_ranks import both
from pretrain.runtime import distributed
from transfer.detection.losses import NEVER, Losses, NotFinite

CPU = torch.device("cpu")


class Detector(nn.Module):
    """Two losses of a linear map; a norm with running statistics is left out, since a bad pass changes those."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(4, 3)

    def forward(self, batch):
        rows = self.map(batch)
        return {"loss_cls": rows.square().mean(), "loss_box": (rows - 1).abs().mean()}


def batches(bad, rank=0):
    """Of one rank; from `bad` on every seventh one holds what is no number."""
    for number in range(200):
        batch = torch.randn(2, 4, generator=torch.Generator().manual_seed(2 * number + rank))
        yield batch * torch.nan if number >= bad and (number - bad) % 7 == 0 else batch


def trained(folder, bad, every, last=100, rank=0):
    """What a training left: the error and when it was told, weights and momenta, checkpoints and metrics."""
    model = Detector()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, foreach=True)
    parallel = distributed.data_parallel(model, CPU)
    trainer = SimpleTrainer(parallel, batches(bad, rank), optimizer, gather_metric_period=NEVER)
    trainer.register_hooks([Losses(optimizer, False, every)])
    if rank == 0:
        writer = hooks.PeriodicWriter([JSONWriter(str(folder / "metrics.json"))], period=20)
        checkpointer = DetectionCheckpointer(parallel, str(folder), trainer=trainer)
        trainer.register_hooks([hooks.PeriodicCheckpointer(checkpointer, every), writer])
    error = None
    try:
        trainer.train(0, last)
    except NotFinite as caught:
        error = caught
    return {
        "told": (error.iteration, trainer.iter, str(error)) if error else None,
        "weights": model.state_dict(),
        "momenta": [state["momentum_buffer"] for state in optimizer.state_dict()["state"].values()],
    }


def by_hand(bad, ranks=1):
    """Weights after the steps before iteration `bad`, by torch's plain SGD on the mean of the ranks' gradients."""
    model = Detector()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, foreach=False, fused=False)
    each = [batches(bad, rank) for rank in range(ranks)]
    for _ in range(bad):
        optimizer.zero_grad()
        sum(sum(model(next(one)).values()) / ranks for one in each).backward()
        optimizer.step()
    momenta = [state["momentum_buffer"] for state in optimizer.state_dict()["state"].values()]
    return {"weights": copy.deepcopy(model.state_dict()), "momenta": momenta}


@pytest.mark.parametrize(("bad", "every"), [(0, 500), (1, 500), (10, 500), (19, 500), (31, 8), (97, 500)])
def test_no_step_is_taken_from_the_first_bad_loss_on_and_the_run_ends_before_it_writes_one(tmp_path, bad, every):
    left = trained(tmp_path, bad, every)
    iteration, now, sentence = left.pop("told")
    assert iteration == bad and now - bad <= 20 and sentence == "loss_cls and loss_box is not finite"
    torch.testing.assert_close(left, by_hand(bad), rtol=1e-5, atol=1e-7)
    for path in tmp_path.glob("model_*.pth"):
        kept = torch.load(path, weights_only=True)
        assert kept["iteration"] < bad and all(value.isfinite().all() for value in kept["model"].values())


def test_what_is_written_every_20_iterations_are_means_of_the_losses(tmp_path):
    trained(tmp_path, 1000, 500, last=50)
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [19, 39, 49]
    for line in lines:
        assert line["total_loss"] == pytest.approx(line["loss_cls"] + line["loss_box"])
    model, each = Detector(), batches(1000)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    seen = []
    for _ in range(50):
        optimizer.zero_grad()
        losses = model(next(each))
        sum(losses.values()).backward()
        optimizer.step()
        seen.append(losses["loss_box"].item())
    tens = [sum(seen[start : start + 10]) / 10 for start in range(0, 50, 10)]
    expected = tens[0], (tens[1] + tens[2]) / 2, sorted(tens[2:])[1]  # the median of what came in 20 iterations
    assert [line["loss_box"] for line in lines] == pytest.approx(expected, rel=1e-5)


def on_a_rank(rank, folder):
    distributed.start(CPU)
    return trained(folder, 13 if rank else 1000, 500, rank=rank)


def test_a_bad_loss_of_one_rank_stops_all_of_them_at_once_and_alike(tmp_path):
    first, second = both(on_a_rank, tmp_path, tmp_path)
    assert first["told"] == (13, 29, "a loss of another rank is not finite")
    assert second["told"] == (13, 29, "loss_cls and loss_box is not finite")
    expected = by_hand(13, ranks=2)
    for left in (first, second):
        del left["told"]
        torch.testing.assert_close(left, expected, rtol=1e-5, atol=1e-7)
