"""The network: trunk, projector, and the pair of branches that gives rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from pretrain.models.batchnorm import ViewBatchNorm, statistics_of_each
from pretrain.models.trunks import build_trunk
from pretrain.runtime import distributed


def build_projector(
    features: int,
    width: int,
    depth: int,
    hidden: int | None = None,
    norm: str = "batch",
    last_norm: str = "none",
    last_bias: bool = True,
) -> nn.Sequential:
    """`depth` linear layers: hidden ones with BN and ReLU, or with bias and ReLU; then one to `width` channels.

    By default this is the official code's projector (2048-2048-2048 at depth 3).

    Args:
        features: channels of what is projected.
        width: C, channels of the rows.
        depth: number of linear layers.
        hidden: channels of all layers but the last; None is `width`.
        norm: of the hidden layers: "batch", which then have no bias, or "none".
        last_norm: of the last layer: "none", "batch", or "batch_plain", which has no weight and bias.
        last_bias: whether the last layer has a bias.
    """
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        inner = hidden or width
        layers += [nn.Linear(features, inner, bias=norm == "none")]
        layers += [ViewBatchNorm(inner)] if norm == "batch" else []
        layers += [nn.ReLU(inplace=True)]
        features = inner
    layers += [nn.Linear(features, width, bias=last_bias)]
    if last_norm != "none":
        layers += [ViewBatchNorm(width, affine=last_norm == "batch")]
    return nn.Sequential(*layers)


class UnitRows(nn.Module):
    """(n, C) to rows of length 1."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (n, C), each divided by its length."""
        return functional.normalize(rows, dim=-1)


def build_normalisation(kind: str, width: int) -> nn.Module:
    """What makes rows of a projector's output: "l2", "bn" (columns over the batch, without affine part) or "none"."""
    return {"l2": UnitRows(), "bn": ViewBatchNorm(width, affine=False), "none": nn.Identity()}[kind]


def project(trunk: nn.Module, projector: nn.Module, views: torch.Tensor) -> torch.Tensor:
    """(V, n, 3, S, S), as one batch through trunk and projector, to (V·n, C)."""
    images = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    projected: torch.Tensor = projector(trunk(images))
    return projected


def project_keeping(trunk: nn.Module, projector: nn.Module, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `project`, and the trunk's features (V·n, D) beside it."""
    features = trunk(views.flatten(0, 1).contiguous(memory_format=torch.channels_last))
    projected: torch.Tensor = projector(features)
    return projected, features


class Branch(nn.Module):
    """Trunk, projector and normalisation; normalised images to (K, n, C) rows in float32.

    Takes one tensor (V, n, 3, S, S) for each size of views, the global ones first. In trunk and projector, each global
    view has its own batch statistics, as in the official code, and all local views of a size share theirs. The
    normalisation of the rows has statistics of each view.

    Attributes: project and project_keeping, the functions of those names, or compiled ones in their place; kept, where
        a list is put there, gets the detached features (V, n, D) of the global views of every pass.
    """

    def __init__(self, trunk: nn.Module, projector: nn.Module, normalisation: nn.Module) -> None:
        super().__init__()
        self.trunk, self.projector, self.normalisation = trunk, projector, normalisation
        self.project, self.project_keeping = project, project_keeping
        self.kept: list[torch.Tensor] | None = None

    def forward(self, views: Sequence[torch.Tensor]) -> torch.Tensor:
        """Rows of all K views of n images, the global ones first, in the order of `views`."""
        images = views[0].shape[1]
        # Global views in one batch need half the collectives, but every normalised map is copied. On a CPU a step then
        # takes 5 to 7 % less time. One GPU, bound by its memory, is likely to lose (not measured).
        at_once = len(views[0]) if distributed.world_size() > 1 or views[0].device.type == "cpu" else 1
        with statistics_of_each(self, at_once):
            rows = [self._projected(batch) for batch in torch.split(views[0], at_once)]
        rows += [self.project(self.trunk, self.projector, smaller) for smaller in views[1:]]
        with torch.autocast(views[0].device.type, enabled=False):
            precise = torch.cat([row.to(torch.promote_types(row.dtype, torch.float32)) for row in rows])
            with statistics_of_each(self.normalisation, len(precise) // images):
                normalised: torch.Tensor = self.normalisation(precise)
                return normalised.view(-1, images, normalised.shape[1])

    def _projected(self, views: torch.Tensor) -> torch.Tensor:
        """Of global views; their features are kept where that is asked for."""
        if self.kept is None:
            return self.project(self.trunk, self.projector, views)
        projected, features = self.project_keeping(self.trunk, self.projector, views)
        self.kept.append(features.detach().view(*views.shape[:2], -1))
        return projected


class Siamese(nn.Module):
    """An online branch that learns and a target branch that follows it as a moving average.

    The target keeps its own batch statistics in train mode and has no gradients; only parameters are averaged, as in
    the official code.

    Args:
        arch: one of TRUNKS.
        zero_init_residual: whether the last BN of each residual block begins at weight 0.
        projector_depth: number of the projector's linear layers.
        projector_width: C, channels of the rows.
        projector_hidden, projector_norm, projector_last_norm, projector_last_bias: as in build_projector.
        normalisation: "l2", "bn" or "none", as in build_normalisation.
        channels: of the images.
    """

    def __init__(
        self,
        arch: str,
        zero_init_residual: bool,
        projector_depth: int,
        projector_width: int,
        projector_hidden: int | None = None,
        projector_norm: str = "batch",
        projector_last_norm: str = "none",
        projector_last_bias: bool = True,
        normalisation: str = "l2",
        channels: int = 3,
    ) -> None:
        super().__init__()
        trunk, features = build_trunk(arch, zero_init_residual, channels)
        self.features = features  # D, channels of the trunk's output
        layers = projector_hidden, projector_norm, projector_last_norm, projector_last_bias
        projector = build_projector(features, projector_width, projector_depth, *layers)
        self.online = Branch(trunk, projector, build_normalisation(normalisation, projector_width))
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target ← momentum · target + (1 - momentum) · online, over all parameters in one fused call."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1.0 - momentum)
