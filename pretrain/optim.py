"""LARS and the groups of parameters that are treated alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

OPTIMISERS = ("sgd", "lars")


def trust_ratios(sizes: torch.Tensor, lengths: torch.Tensor, trust: float) -> torch.Tensor:
    """What LARS scales each parameter's decayed gradient by: trust · |p| / |d|, and 1 where either norm is 0.

    Args: sizes, the norms |p| of the parameters; lengths, of the same shape, the norms |d| of their decayed gradients.
    """
    both = (sizes > 0) & (lengths > 0)
    return torch.where(both, trust * sizes / lengths.masked_fill(~both, 1), torch.ones_like(sizes))


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al., 2017), with the momentum of BYOL's and Barlow Twins' code.

    For each parameter p with gradient g: d = g + wd · p; where the group adapts, d is scaled by trust · |p| / |d| (by 1
    where either norm is 0); then m ← momentum · m + d and p ← p - lr · m. All parameters of a group go through fused
    calls, and nothing waits for the device.

    Args: groups, each with "params" and optionally "adapt" (bool, default True), "lr", "weight_decay".
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._update(parameters, group)
        return loss

    def _update(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        directions = torch._foreach_add(
            [parameter.grad for parameter in parameters], parameters, alpha=group["weight_decay"]
        )
        if group["adapt"]:
            sizes = torch.stack(torch._foreach_norm(parameters))
            lengths = torch.stack(torch._foreach_norm(directions))
            ratios = trust_ratios(sizes, lengths, group["trust"])
            torch._foreach_mul_(directions, list(ratios.unbind()))
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, directions)
        torch._foreach_add_(parameters, momenta, alpha=-group["lr"])


def build(
    name: str,
    parameters: Iterable[torch.nn.Parameter],
    momentum: float,
    weight_decay: float,
    bias_lr_share: float,
) -> torch.optim.Optimizer:
    """`sgd`, the 100-epoch recipe, or `lars`, the 800-epoch one (paper, Appendix B).

    Each group has an "lr_share", its learning rate as a share of the schedule's; the caller multiplies. Under SGD all
    parameters decay (official code). Under LARS parameters of one dimension, the biases and those of norms, have
    neither decay nor adaptation.

    Args: bias_lr_share, learning rate of parameters of one dimension over that of the others.
    """
    vectors: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for parameter in parameters:
        (vectors if parameter.ndim <= 1 else others).append(parameter)
    groups = [{"params": others, "lr_share": 1.0}, {"params": vectors, "lr_share": bias_lr_share}]
    if name == "sgd":
        # Fused: one kernel a group, and on the device it takes the scaler's verdict without asking the host.
        return torch.optim.SGD(groups, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=True)
    groups[1] |= {"adapt": False, "weight_decay": 0.0}
    return LARS(groups, lr=0.0, momentum=momentum, weight_decay=weight_decay)
