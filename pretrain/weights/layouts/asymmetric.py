"""Checkpoints of methods with a predictor or a teacher: SimSiam, three ports of BYOL, DINO."""

from __future__ import annotations

from pretrain.weights.layouts.base import UNSCALED, Layout, Place
from pretrain.weights.names import CHILDREN

LAYOUTS = (
    Layout(
        "simsiam",
        "facebookresearch/simsiam: simsiam/builder.py, main_simsiam.py",
        Place("state_dict", r"encoder\."),
        marks=(r"encoder\.fc\.0\.",),
    ),
    Layout(
        "byol-sthalles",
        "sthalles/PyTorch-BYOL: trainer.py, models/resnet_base_network.py",
        Place("online_network_state_dict", r"encoder\."),
        Place("target_network_state_dict", r"encoder\."),
        naming=CHILDREN,
        pixels=UNSCALED,
    ),
    Layout(
        "byol-yaox12",
        "yaox12/BYOL-PyTorch: model/byol_model.py, trainer/byol_trainer.py",
        Place("model", r"online_network\.encoder\."),
        Place("model", r"target_network\.encoder\."),
        naming=CHILDREN,
    ),
    Layout(
        "byol-lucidrains",
        "lucidrains/byol-pytorch: byol_pytorch/byol_pytorch.py",
        Place("|state_dict", r"online_encoder\.net\."),
        Place("|state_dict", r"target_encoder\.net\."),
    ),
    Layout(
        "dino",
        "facebookresearch/dino: main_dino.py, utils.py MultiCropWrapper",
        Place("student", r"backbone\."),
        Place("teacher", r"backbone\."),
        takes="target",
        marks=(r"head\.",),
    ),
)
