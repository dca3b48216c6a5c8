"""Networks of timm as trunks of detectors: the maps of their stages, below detectron2's FPN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn

from pretrain.models.trunks import plain_trunk
from pretrain.runtime.errors import UserError
from transfer.detection.config.validate import TIMM_FPN
from transfer.features.stages import STRIDES, modules_of, stage_maps, stage_shapes
from transfer.options import STAGES

NETWORK = "network"  # the attribute that holds timm's network, whose tensors keep their names
SIDE = 128  # of the images that tell the shapes of maps: a multiple of the largest stride
WHAT = "a detector with an FPN"


class TimmTrunk(Backbone):  # type: ignore[misc]  # detectron2 has no types
    """A network of timm that gives the maps of its stages, without what lies behind the last of them."""

    def __init__(self, arch: str, stages: Sequence[str], norm: str) -> None:
        """A network at its random initialisation.

        Args:
            arch: timm/NAME.
            stages: of res2 .. res5, whose maps are given.
            norm: what its batch norms become: BN, SyncBN or FrozenBN. Other norms stay as they are.

        Raises:
            UserError: as of `stage_channels`.
        """
        super().__init__()
        self._out_features = list(stages)
        self._out_feature_channels = stage_channels(arch, stages)
        self._out_feature_strides = _strides(stages)
        network = plain_trunk(arch)
        self.modules_of_stages = modules_of(arch, network, WHAT, stages)
        _remove_what_lies_behind(network, self.modules_of_stages)
        self.network = _with_norms(network, norm)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to the map (N, C, H / stride, W / stride) of each stage; H and W multiples of its stride."""
        return stage_maps(self.network, self.modules_of_stages, images)


def stage_channels(arch: str, stages: Sequence[str]) -> dict[str, int]:
    """Channels of the maps of a network's stages.

    Raises:
        UserError: there is no such network, or it has no such maps of images of any size.
    """
    try:
        shapes = stage_shapes(arch, SIDE, WHAT, stages)[1]
    except UserError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{arch} does not take images of any size, as {WHAT} feeds it ({reason}): choose a network of convolutions."
        ) from error
    for name, stride in _strides(stages).items():
        if tuple(shapes[name][2:]) != (SIDE // stride, SIDE // stride):
            raise UserError(
                f"{arch} gives {tuple(shapes[name])} at stride {stride} of {SIDE} x {SIDE} pixels, which is no map of "
                f"channels, rows and columns: choose a network of convolutions for {WHAT}."
            )
    return {name: shapes[name][1] for name in stages}


def _strides(stages: Sequence[str]) -> dict[str, int]:
    return {name: STRIDES[STAGES.index(name)] for name in stages}


def _remove_what_lies_behind(network: nn.Module, modules: Mapping[str, str]) -> None:
    """Put nothing in the place of what the maps do not need: such weights would never get a gradient."""
    used: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda _module, _given, name=name: used.add(name))
        for name, module in network.named_modules()
    ]
    mode = network.training
    with torch.no_grad():
        stage_maps(network.eval(), modules, torch.zeros(1, 3, SIDE, SIDE))
    network.train(mode)
    for hook in hooks:
        hook.remove()
    for name, _ in list(network.named_modules()):
        if name and not any(one == name or one.startswith(f"{name}.") for one in used):
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, nn.Identity())


def _with_norms(network: nn.Module, norm: str) -> nn.Module:
    """The network with its batch norms over all processes, frozen, or as they are."""
    from timm.layers import norm_act  # an optional package, which `plain_trunk` has asked for

    changes: dict[str, Any] = {"SyncBN": norm_act.convert_sync_batchnorm, "FrozenBN": norm_act.freeze_batch_norm_2d}
    changed: nn.Module = changes[norm](network) if norm in changes else network
    return changed


def _trunk(cfg: CfgNode) -> TimmTrunk:
    return TimmTrunk(cfg.MODEL.BACKBONE.ARCH, cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.RESNETS.NORM)


def _fpn(cfg: CfgNode, trunk: TimmTrunk, top: nn.Module) -> FPN:
    fpn = cfg.MODEL.FPN
    return FPN(trunk, fpn.IN_FEATURES, fpn.OUT_CHANNELS, norm=fpn.NORM, top_block=top, fuse_type=fpn.FUSE_TYPE)


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator]
def build_timm_fpn_backbone(cfg: CfgNode, _input_shape: ShapeSpec) -> FPN:
    """As detectron2's build_resnet_fpn_backbone, over MODEL.BACKBONE.ARCH."""
    return _fpn(cfg, _trunk(cfg), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator]
def build_retinanet_timm_fpn_backbone(cfg: CfgNode, _input_shape: ShapeSpec) -> FPN:
    """As detectron2's build_retinanet_resnet_fpn_backbone, over MODEL.BACKBONE.ARCH."""
    trunk = _trunk(cfg)
    return _fpn(cfg, trunk, LastLevelP6P7(trunk.output_shape()["res5"].channels, cfg.MODEL.FPN.OUT_CHANNELS))


def choose_builder(cfg: CfgNode) -> None:
    """Where MODEL.BACKBONE.ARCH names a network of timm, set MODEL.BACKBONE.NAME to the FPN over it, in place."""
    if cfg.MODEL.BACKBONE.ARCH:
        cfg.MODEL.BACKBONE.NAME = TIMM_FPN[cfg.MODEL.BACKBONE.NAME]


def fill(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load a trunk's tensors into the detector's network of timm; those of `state` that it has a place for.

    Args:
        model: a detector over a TimmTrunk.
        state: timm's names to tensors.
    """
    [trunk] = [module for module in model.modules() if isinstance(module, TimmTrunk)]
    places = trunk.network.state_dict()
    held = {name: tensor for name, tensor in state.items() if name in places}
    trunk.network.load_state_dict(held, strict=False)  # the comparison that follows names what is missing
    return held
