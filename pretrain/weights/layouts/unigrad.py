"""Checkpoints of this repository and of the official code of UniGrad."""

from __future__ import annotations

from pretrain.weights.formats import EXPORT
from pretrain.weights.layouts.base import Layout, Place
from pretrain.weights.names import CHILDREN

LAYOUTS = (
    Layout(
        "unigrad-checkpoint",
        "this repository: pretrain/engine/checkpoint.py, save",
        Place("model", r"online\.trunk\."),
        Place("model", r"target\.trunk\."),
        head=r"(?!)",  # nothing: our trunks have no head
    ),
    Layout(
        "unigrad-export",
        "this repository: pretrain/engine/checkpoint.py, export_trunk",
        Place("state_dict"),
        keys=(f"format={EXPORT}",),
        head=r"(?!)",
    ),
    Layout(
        "official-unigrad",
        "fundamentalvision/UniGrad: project/pretrainer.py",
        Place("model", r"encoder\."),
        Place("model", r"momentum_encoder\."),
        naming=CHILDREN,
    ),
)
