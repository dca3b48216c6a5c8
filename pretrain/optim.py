"""What changes the parameters: LARS, the groups that are treated alike, and the schedules of rates.

A schedule is an fvcore ParamScheduler over the share of steps done, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch.optim.sgd import sgd


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

    fp16's scaler leaves its scale and its verdict on the device, as for torch's fused optimisers: gradients are divided
    by the one, and where the other is 1 (a gradient is not finite) p and m stay as they are.

    Args: groups, each with "params" and optionally "adapt" (bool, default True), "lr", "weight_decay".
    """

    _step_supports_amp_scaling = True  # torch's name of that contract; grad_scale and found_inf are set for a step

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
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override] # no overloads
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
        gradients = [cast(torch.Tensor, parameter.grad) for parameter in parameters]
        scale: torch.Tensor | None = getattr(self, "grad_scale", None)
        if scale is not None:
            gradients = list(torch._foreach_mul(gradients, scale.double().reciprocal().to(gradients[0].dtype)))
        directions = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        if group["adapt"]:
            sizes = torch.stack(torch._foreach_norm(parameters))
            lengths = torch.stack(torch._foreach_norm(directions))
            ratios = trust_ratios(sizes, lengths, group["trust"])
            torch._foreach_mul_(directions, list(ratios.unbind()))
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        sgd(  # the one call of torch's that leaves a step out without asking the host
            parameters,
            directions,
            momenta,
            fused=True,
            found_inf=getattr(self, "found_inf", None),
            weight_decay=0.0,
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )


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

    Args:
        name: of the optimiser.
        parameters: all that learn.
        momentum: of either optimiser.
        weight_decay: of the parameters that decay.
        bias_lr_share: learning rate of parameters of one dimension over that of the others.
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


def under_own_options(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """A stored state of `optimizer` with the options that it has now, such as momentum and weight decay.

    torch's own `load_state_dict` would put the stored ones in their place.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = [{**now, "params": then["params"]} for now, then in zip(own, state["param_groups"], strict=True)]
    return {**state, "param_groups": groups}


def warmup_cosine(peak: float, warmup: float) -> ParamScheduler:
    """Linear from 0 to `peak` over the first share `warmup` of the run, then half a cosine from `peak` to 0.

    The cosine spans exactly the steps after the warm-up; the official code divides by all steps, so it never ends.
    """
    if warmup == 0:
        return CosineParamScheduler(peak, 0.0)
    return CompositeParamScheduler(
        [LinearParamScheduler(0.0, peak), CosineParamScheduler(peak, 0.0)],
        lengths=[warmup, 1 - warmup],
        interval_scaling=["rescaled", "rescaled"],
    )


def target_momentum(start: float) -> ParamScheduler:
    """1 - (1-start)(cos(πt)+1)/2 for t from 0 to 1: from `start` to 1 (official code; BYOL)."""
    return CosineParamScheduler(start, 1.0)
