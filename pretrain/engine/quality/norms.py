"""How large gradients and weights are, and how far the target has fallen behind: signs of a run that drifts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from pretrain.models.siamese import Siamese


@torch.no_grad()
def norms(model: Siamese, form: nn.Module, follows: bool) -> dict[str, torch.Tensor]:
    """Scalars on the device, which no host waits for; gradients are those that the last step left.

    Args:
        model: online and target branch.
        form: whose parameters learn beside the online branch's.
        follows: whether the target branch is a moving average of the online one.

    Returns: gradient_norm, the length of the gradient of all that learns; weight_norm, that of the online branch's
        parameters; target_distance, |target - online| / |online| over these, where the target follows.
    """
    learning = [*model.online.parameters(), *form.parameters()]
    online: list[torch.Tensor] = list(model.online.parameters())
    target: list[torch.Tensor] = list(model.target.parameters())
    size = length(online)
    found = {
        "gradient_norm": length(one.grad for one in learning if one.grad is not None),
        "weight_norm": size,
    }
    if follows:
        found["target_distance"] = length(torch._foreach_sub(target, online)) / size
    return found


def length(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The Euclidean norm of all tensors together, a scalar on their device."""
    whole: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return whole
