"""The losses of a fine-tuning: looked at on the device in each iteration, by the host every 20, never waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.engine import hooks

from pretrain.runtime import distributed

PERIOD = 20  # iterations, as that of detectron2's writers
NEVER = 2**62  # what detectron2's trainer is told, so that it does not gather metrics itself


class NotFinite(FloatingPointError):
    """A loss that was not finite. iteration: the first with one; weights and optimiser are as before its step."""

    def __init__(self, iteration: int, names: list[str]) -> None:
        super().__init__(f"{' and '.join(names) or 'a loss of another rank'} is not finite")
        self.iteration = iteration


class Losses(hooks.HookBase):  # type: ignore[misc]  # detectron2 and pycocotools have no types
    """detectron2's hook in the place of its trainer's metrics; the first hook of all, so that it is asked first.

    detectron2 reads every loss on the host in each iteration. Here, from the first loss on that is not finite on any
    rank, the optimiser leaves its steps out on the device. The host learns of it from a copy that was begun half a
    period before it is read, within 20 iterations; and before a checkpoint is written it asks.

    Args:
        optimizer: torch's SGD; it is told to use its fused kernels, which take a verdict on the device.
        scaled: under a gradient scaler, which leaves out steps whose gradients are not finite.
        checkpoint_every: iterations from one checkpoint to the next.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scaled: bool, checkpoint_every: int) -> None:
        self.optimizer, self.scaled, self.checkpoint_every = optimizer, scaled, checkpoint_every
        self.names: list[str] = []
        self.sent: tuple[torch.Tensor, torch.cuda.Event | None] | None = None

    def before_train(self) -> None:
        """Take the place of detectron2's metrics; after a checkpoint was loaded, which has options of its own."""
        device = self.optimizer.param_groups[0]["params"][0].device
        self.lost, self.at = torch.zeros((), device=device), torch.full((), -1.0, device=device, dtype=torch.float64)
        self.fresh = not self.optimizer.state
        if not self.scaled:
            for group in self.optimizer.param_groups:
                group["foreach"], group["fused"] = False, True
            self.optimizer.found_inf = self.lost  # type: ignore[attr-defined]  # torch's name of the verdict
        self.trainer._write_metrics = self.take

    def take(self, losses: Mapping[str, torch.Tensor], data_time: float, *_: Any, **__: Any) -> None:
        """The losses of this iteration on this rank, between its backward pass and its step."""
        now = torch.stack([value.detach().float() for value in losses.values()])
        if not self.names:
            self.names, self.kept = list(losses), torch.zeros_like(now)
            self.sums, self.count, self.data_time = torch.zeros_like(now), 0, 0.0
        lost = distributed.any_on_device_((~now.sum().isfinite()).float())
        first = (lost > 0) & (self.lost == 0)
        self.at = torch.where(first, float(self.trainer.iter), self.at)
        self.kept = torch.where(first, now, self.kept)
        torch.maximum(self.lost, lost, out=self.lost)  # in place: the optimiser holds it
        if self.scaled:
            self._spoil()
        self.sums += now
        self.count, self.data_time = self.count + 1, max(self.data_time, data_time)

    def _spoil(self) -> None:
        """Make one gradient no number once a loss was none: the scaler then leaves out every later step."""
        gradients = (value.grad for group in self.optimizer.param_groups for value in group["params"])
        one = next(gradient for gradient in gradients if gradient is not None)
        one.mul_(torch.where(self.lost > 0, torch.nan, 1.0).to(one.dtype))

    def after_step(self) -> None:
        """Read what was sent half a period ago, send anew, and ask where a checkpoint is due.

        Raises:
            NotFinite: a loss was not, up to 20 iterations ago; on all ranks in the same iteration.
        """
        done = self.trainer.iter + 1
        last = done >= self.trainer.max_iter
        if done % (PERIOD // 2) == 0 or last:
            self._receive()
            self._send()
        if last:
            self._receive()
        if done % self.checkpoint_every == 0 or last:
            self.check()

    def check(self) -> None:
        """Wait for the device and ask; to be called on all ranks alike before weights are written.

        Raises:
            NotFinite: a loss was not.
        """
        if (at := int(self.at.item())) >= 0:
            if self.fresh and at == self.trainer.start_iter:
                self.optimizer.state.clear()  # momenta that no step has filled
            finite = self.kept.isfinite().tolist()
            raise NotFinite(at, [name for name, whole in zip(self.names, finite, strict=True) if not whole])

    def _send(self) -> None:
        """Begin to copy the means of this window over iterations and ranks to the host."""
        means = distributed.all_mean(self.sums / max(self.count, 1))
        here = torch.cat([means.double(), self.at[None]])
        there = torch.empty(here.shape, dtype=here.dtype, pin_memory=here.is_cuda).copy_(here, non_blocking=True)
        self.sent = there, torch.cuda.current_stream().record_event() if here.is_cuda else None
        self.sums, self.count = torch.zeros_like(self.sums), 0

    def _receive(self) -> None:
        """Hand over what was sent, the losses' means as of half a period ago; detectron2 takes the median of these."""
        if self.sent is None:
            return
        (there, event), self.sent = self.sent, None
        if event:
            event.synchronize()
        *means, at = there.tolist()
        if at >= 0:
            self.check()
        storage = self.trainer.storage
        storage.put_scalars(data_time=self.data_time, total_loss=sum(means))
        if len(means) > 1:
            storage.put_scalars(**dict(zip(self.names, means, strict=True)))
        self.data_time = 0.0
