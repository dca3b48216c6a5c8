"""Stages of a trunk that do not learn: no gradients, and norms that stay in evaluation mode."""

from __future__ import annotations

from torch import nn

from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.runtime.errors import UserError

STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))  # the stem first, as detectron2 counts


def freeze(online: nn.Module, target: nn.Module, count: int) -> None:
    """Freeze the first `count` stages of the trunks of both branches, in place; 0 changes nothing.

    The target's become those of the online branch, as the moving average would make them in time. Both trunks are
    ResNets under torchvision's names.

    Raises:
        UserError: the trunk has no such stages.
    """
    names = [name for stage in STAGES[:count] for name in stage]
    lacking = [name for name in names if not hasattr(online, name)]
    if lacking:
        raise UserError(
            f"model.freeze_stages={count} counts the stages of torchvision's ResNets, and this trunk has no "
            f"{', '.join(lacking)}: leave it at 0."
        )
    for name in names:
        getattr(target, name).load_state_dict(getattr(online, name).state_dict())
        for trunk in (online, target):
            part: nn.Module = getattr(trunk, name).requires_grad_(False)
            for norm in (module for module in part.modules() if isinstance(module, ViewBatchNorm)):
                norm.frozen = True
                norm.eval()
