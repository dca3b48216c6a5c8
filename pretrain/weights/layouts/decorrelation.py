"""Checkpoints of methods that decorrelate channels: Barlow Twins and VICReg."""

from __future__ import annotations

from pretrain.weights.layouts.base import Layout, Place

LAYOUTS = (
    Layout(
        "barlow-twins",
        "facebookresearch/barlowtwins: main.py",
        Place("model", r"backbone\."),
        marks=(r"projector\.", r"bn\.running_mean"),
    ),
    Layout(
        "vicreg",
        "facebookresearch/vicreg: main_vicreg.py, resnet.py",
        Place("model", r"backbone\."),
        marks=(r"projector\.",),
        unless=(r"bn\.",),
    ),
)
