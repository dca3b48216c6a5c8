"""The RoI head of the C4 family as MoCo uses it: res5 for either residual block, closed by an extra norm."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import get_norm
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.backbone.resnet import BasicBlock, ResNet
from detectron2.modeling.roi_heads import Res5ROIHeads
from torch import nn

RES5_BLOCKS = {18: 2, 34: 3}  # blocks of torchvision's layer4 where blocks are basic; Bottleneck trunks have 3


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeadsExtraNorm(Res5ROIHeads):  # type: ignore[misc]  # detectron2 and pycocotools have no types
    """Res5ROIHeads whose res5 ends in one more norm, `res5.norm` (MoCo, detection/train_net.py).

    A trunk that was not trained under a frozen norm has features of unknown scale; the extra norm rescales them before
    the box predictor. Registered under its name: MODEL.ROI_HEADS.NAME selects it.
    """

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Sequential, int]:
        """The blocks named 0, 1, ... as in a ResNet's res5, then `norm`; and the number of output channels."""
        norm, depth = cfg.MODEL.RESNETS.NORM, cfg.MODEL.RESNETS.DEPTH
        if depth in RES5_BLOCKS:
            channels, blocks = 8 * cfg.MODEL.RESNETS.RES2_OUT_CHANNELS, RES5_BLOCKS[depth]
            stage = ResNet.make_stage(
                BasicBlock,
                blocks,
                stride_per_block=[2] + [1] * (blocks - 1),
                in_channels=channels // 2,
                out_channels=channels,
                norm=norm,
            )
            res5 = nn.Sequential(*stage)
        else:
            res5, channels = super()._build_res5_block(cfg)
        res5.add_module("norm", get_norm(norm, channels))
        return res5, channels
