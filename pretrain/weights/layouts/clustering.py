"""Checkpoints of methods that compare class assignments: SwAV, DeepCluster v2 and TWIST."""

from __future__ import annotations

from pretrain.weights.layouts.base import ImageStatistics, Layout, Place

# src/multicropdataset.py really says 0.228
SWAV: ImageStatistics = ((0.485, 0.456, 0.406), (0.228, 0.224, 0.225))

LAYOUTS = (
    Layout(
        "swav",
        "facebookresearch/swav: src/resnet50.py, main_swav.py (also main_deepclusterv2.py)",
        Place("|state_dict"),
        marks=(r"projection_head\.",),
        head=r"(projection_head|prototypes)\.",
        pixels=SWAV,
    ),
    Layout(
        "twist",
        "bytedance/TWIST: train.py, evaluate.py",
        Place("backbone"),
        Place("teacher_backbone|ema_backbone"),
    ),
)
