"""Checkpoints of contrastive methods: MoCo and SimCLR."""

from __future__ import annotations

from pretrain.weights.layouts.base import UNSCALED, Layout, Place

LAYOUTS = (
    Layout(
        "moco-v1",
        "facebookresearch/moco: moco/builder.py, main_moco.py",
        Place("state_dict", r"encoder_q\."),
        Place("state_dict", r"encoder_k\."),
        marks=(r"encoder_[qk]\.fc\.weight",),
    ),
    Layout(
        "moco-v2",
        "facebookresearch/moco: moco/builder.py, main_moco.py --mlp",
        Place("state_dict", r"encoder_q\."),
        Place("state_dict", r"encoder_k\."),
        marks=(r"encoder_[qk]\.fc\.0\.weight",),
    ),
    Layout(
        "moco-v3",
        "facebookresearch/moco-v3: moco/builder.py, main_moco.py",
        Place("state_dict", r"base_encoder\."),
        Place("state_dict", r"momentum_encoder\."),
        marks=(r"(base|momentum)_encoder\.fc\.0\.",),
    ),
    Layout(
        "simclr-sthalles",
        "sthalles/SimCLR: simclr.py, models/resnet_simclr.py",
        Place("state_dict", r"backbone\."),
        marks=(r"backbone\.fc\.0\.",),
        pixels=UNSCALED,
    ),
)
