"""The head of MoCo's segmentation protocol: an FCN of two dilated convolutions on res5 (He et al., 2020, appendix)."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

DILATION = 6  # of the two convolutions: a large field of view, as DeepLab's


@SEM_SEG_HEADS_REGISTRY.register()
class FCNHead(nn.Module):
    """3x3 conv, norm, ReLU, twice, then 1x1 conv to the classes, and bilinear upsampling to the image's size.

    Registered under its name: MODEL.SEM_SEG_HEAD.NAME selects it. It reads one feature map, the last of IN_FEATURES.
    """

    @configurable  # type: ignore[untyped-decorator]  # detectron2 has no types
    def __init__(
        self, input_shape: dict[str, ShapeSpec], *, feature: str, classes: int, width: int, norm: str, ignored: int
    ) -> None:
        """A head at its random initialisation.

        Args:
            input_shape: of the trunk's maps, by name.
            feature: the map that is read.
            classes: whose scores a pixel has.
            width: channels of the two convolutions.
            norm: detectron2's name of their norm.
            ignored: label of the pixels that no loss is taken of.
        """
        super().__init__()
        self.feature, self.stride = feature, input_shape[feature].stride
        self.ignore_value = ignored  # which SemanticSegmentor pads labels with
        channels = [input_shape[feature].channels, width]
        self.convolutions = nn.Sequential(
            *(
                Conv2d(
                    before,
                    width,
                    kernel_size=3,
                    padding=DILATION,
                    dilation=DILATION,
                    bias=not norm,
                    norm=get_norm(norm, width),
                    activation=F.relu,
                )
                for before in channels
            )
        )
        self.predictor = Conv2d(width, classes, kernel_size=1)
        for convolution in (*self.convolutions, self.predictor):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predictor.weight, std=0.01)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The arguments of `__init__`, as detectron2's @configurable asks for them."""
        head = cfg.MODEL.SEM_SEG_HEAD
        given = {"feature": head.IN_FEATURES[-1], "classes": head.NUM_CLASSES, "width": head.CONVS_DIM}
        return {"input_shape": input_shape, **given, "norm": head.NORM, "ignored": head.IGNORE_VALUE}

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """(None, {"loss_sem_seg": the mean cross-entropy of labelled pixels}) in training, else ((N, K, H, W), {}).

        Args: features, the trunk's maps (N, C, h, w). targets, labels (N, H, W) in training.
        """
        scores = self.predictor(self.convolutions(features[self.feature]))
        size = [self.stride * side for side in scores.shape[-2:]] if targets is None else targets.shape[-2:]
        scores = F.interpolate(scores.float(), size=size, mode="bilinear", align_corners=False)
        if targets is None:
            return scores, {}
        return None, {"loss_sem_seg": F.cross_entropy(scores, targets, ignore_index=self.ignore_value)}
