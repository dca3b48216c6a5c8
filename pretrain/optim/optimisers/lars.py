"""LARS, the optimiser of the 800-epoch recipe and of SimCLR, BYOL, Barlow Twins and VICReg."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.optim.sgd import sgd

from pretrain.optim.base import Group, Optimiser
from pretrain.runtime.options import FREE, option


@dataclass
class Options:
    """Of LARS."""

    trust: float = option(1e-3, "what the ratio of the norms is multiplied by", above=0, resume=FREE)


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
    by the one, in place, and where the other is 1 (a gradient is not finite) p and m stay as they are.

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
            torch._foreach_mul_(gradients, scale.double().reciprocal().to(gradients[0].dtype))
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


def build(groups: Sequence[Group], momentum: float, weight_decay: float, options: Options) -> torch.optim.Optimizer:
    """LARS over `groups`, at a learning rate of 0.

    Args:
        groups: the parameters, and which of them decay and adapt.
        momentum: of the accumulated steps.
        weight_decay: of the parameters that decay.
        options: the further ones.
    """
    dicts = [one.as_dict() | ({} if one.adapts else {"adapt": False}) for one in groups]
    return LARS(dicts, lr=0.0, momentum=momentum, weight_decay=weight_decay, trust=options.trust)


OPTIMISER = Optimiser(
    "layer-wise adaptive rates (You et al., 2017)", build, Options, exclude="vectors", kept=lambda momentum: 1, copies=1
)
