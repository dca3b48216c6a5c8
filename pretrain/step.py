"""One step of training, in the official code's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pretrain.augment import photometry
from pretrain.augment.cutmix import cutmix
from pretrain.augment.multicrop import Batch
from pretrain.engine import accumulation
from pretrain.engine.learner import Learner
from pretrain.engine.monitor import diagnostics
from pretrain.engine.warm_start.learning import hold
from pretrain.methods import EarlyForm
from pretrain.models.batchnorm import without_running_statistics
from pretrain.objective import objective
from pretrain.optim.base import set_rates
from pretrain.runtime import distributed
from pretrain.runtime.devices.compile import new_step
from pretrain.runtime.seeds import seed_of


class Stepped(NamedTuple):
    """One step: values, scalars on the device; settings, the lr and the like; online and target rows (V, n, C)."""

    values: dict[str, torch.Tensor]
    settings: dict[str, float]
    online: torch.Tensor
    targets: torch.Tensor


def step(learner: Learner, batch: Batch, done: int, steps: int) -> Stepped:
    """One step of training, in the official code's order; nothing in it waits for the device.

    Args:
        learner: what is trained, in place.
        batch: the views of this rank's images.
        done: number of steps before this one.
        steps: number of steps of the whole run.
    """
    lr, momentum = learner.lr(done / steps), learner.target_momentum(done / steps)
    new_step()
    set_rates(learner.optimizer, lr)
    precise = torch.promote_types(learner.dtype, torch.float32)
    clean = [views.to(precise) for views in photometry.finish(batch, learner.device, learner.pixels)]
    seen, mixing = mixed(learner, clean, done)
    with torch.autocast(learner.device.type, learner.dtype, enabled=learner.dtype.itemsize < 4):
        rows = _target_rows(learner, clean[:1], momentum)
        if isinstance(learner.form, EarlyForm) and learner.targets[1] in rows:
            learner.form.prepare(rows[learner.targets[1]])
        online, features = _online_rows(learner, seen)
    rows.setdefault("stop_gradient", online.detach()[: len(clean[0])])
    targets, negative_targets = (rows[branch] for branch in learner.targets)
    terms = objective(learner.form, online, targets, mixing=mixing, negative_targets=negative_targets)
    learner.optimizer.zero_grad()
    loss: torch.Tensor = learner.scaler.scale(terms["positive"] + terms["negative"])
    torch.autograd.backward(loss)
    if learner.accumulate > 1:
        assert online.grad is not None, "a leaf after its backward"
        with torch.autocast(learner.device.type, learner.dtype, enabled=learner.dtype.itemsize < 4):
            accumulation.send_back(learner.branch, seen, online.grad, learner.accumulate)
    if done / steps < learner.trunk_waits:
        hold(learner.model.online.trunk.parameters())
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    values = terms | diagnostics.cosines(online, targets)
    if learner.linear and features is not None and batch.labels is not None:
        values |= learner.linear.learn(features, batch.labels, mixing)
    return Stepped(values, {"lr": lr, "target_momentum": momentum}, online.detach(), targets)


def mixed(
    learner: Learner, views: Sequence[torch.Tensor], done: int
) -> tuple[Sequence[torch.Tensor], torch.Tensor | None]:
    """What the online branch sees: views whose global ones are mixed, and the (K, n, n) shares; as they are without."""
    if not learner.cutmix_alpha:
        return views, None
    seen, shares = cutmix(views[0], learner.cutmix_alpha, seed_of(learner.seed, done, distributed.rank()))
    local = sum(len(group) for group in views[1:])
    unmixed = torch.eye(views[0].shape[1], device=shares.device).expand(local, -1, -1)
    return [seen, *views[1:]], torch.cat([shares, unmixed])


@torch.no_grad()
def _target_rows(learner: Learner, views: Sequence[torch.Tensor], momentum: float) -> dict[str, torch.Tensor]:
    """Rows of the clean global views by branch, where the online pass that learns does not give them anyway."""
    rows = {}
    if "momentum" in learner.targets:
        learner.model.update_target(momentum)
        rows["momentum"] = accumulation.rows_of(learner.model.target, views, learner.accumulate)
    if "stop_gradient" in learner.targets and learner.cutmix_alpha:
        with without_running_statistics(learner.model.online):
            rows["stop_gradient"] = accumulation.rows_of(learner.model.online, views, learner.accumulate)
    return rows


def _online_rows(learner: Learner, views: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(K, n, C) with a graph behind them; or as leaves, where the batch passes in parts and again (accumulation.py).

    Beside them the trunk's detached features (V, n, D) of the global views, where a linear head learns from them.
    """
    learner.model.online.kept = [] if learner.linear else None
    if learner.accumulate == 1:
        online: torch.Tensor = learner.branch(views)
    else:
        with torch.no_grad(), without_running_statistics(learner.model.online):
            online = accumulation.rows_of(learner.model.online, views, learner.accumulate).requires_grad_()
    kept, learner.model.online.kept = learner.model.online.kept, None
    return online, accumulation.put_together(kept, learner.accumulate) if kept else None
