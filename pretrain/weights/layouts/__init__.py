"""Every checkpoint layout that conversion knows: one module a family of projects, each with a tuple LAYOUTS.

A module that is dropped into this folder is found. A layout is recognised by names alone, and only when no other fits.
Names are read without the `module.` of DistributedDataParallel and the `_orig_mod.` of torch.compile, at any place.
"""

from __future__ import annotations

import re

from pretrain.runtime.registry import collect
from pretrain.weights.layouts.base import Layout, Place
from pretrain.weights.names import CHILDREN, DETECTRON2, TORCHVISION, TRANSFORMERS

LAYOUTS: tuple[Layout, ...] = tuple(
    sorted((layout for family in collect(__name__, "LAYOUTS") for layout in family), key=lambda layout: layout.name)
)

# ways of calling tensors that --prefix tries
NAMINGS = (TORCHVISION, CHILDREN, DETECTRON2, TRANSFORMERS)

# networks that are no torchvision ResNet, by names that only they have, so that a refusal can say what a file is
FOREIGN = {
    "a vision transformer (MoCo v3 and DINO train those too)": r"(.*\.)?(cls_token|pos_embed|blocks\.\d+\.attn\..*)$",
    "Caffe2 blobs (BGR, stride in the 1x1 convolution, no running statistics)": r"conv1_w$|res2_0_branch2a_w$",
    "a ResNet with a deep stem, as timm's resnet50d": r"(.*\.)?(conv1|stem)\.0\.weight$",
    "a ClassyVision network (VISSL converts those)": r"(.*\.)?initial_block\._module\.0\.weight$",
}


def layouts_below(prefix: str, within: str) -> tuple[Layout, ...]:
    """Layouts of a trunk whose names the user says begin with `prefix`, one for each way of calling its tensors.

    Args:
        within: every place of the file that may hold it, as in `Place`.
    """
    name, where = f"below {prefix or 'no prefix'}", Place(within, re.escape(prefix))
    return tuple(Layout(name, "the command line", where, naming=naming, shared=True) for naming in NAMINGS)
