"""Checkpoints of toolboxes with many methods: solo-learn, lightly, VISSL and those of OpenMMLab."""

from __future__ import annotations

from pretrain.weights.layouts.base import Layout, Place
from pretrain.weights.names import CHILDREN

# parts of mmdetection's detectors and mmsegmentation's segmenters, which no self-supervised method has
DENSE = r"(rpn|roi|bbox|mask|panoptic|semantic|decode|auxiliary|seg|query)_head\.|neck\.(lateral|fpn)_convs\."

LAYOUTS = (
    Layout(
        "solo-learn",
        "vturrisi/solo-learn: solo/methods/base.py, main_linear.py",
        Place("state_dict", r"(backbone|encoder)\."),  # `encoder` up to release 1.0.4
        Place("state_dict", r"momentum_(backbone|encoder)\."),
        marks=(r"classifier\.(weight|bias)$",),
    ),
    Layout(
        "lightly",
        "lightly-ai/lightly: examples/pytorch_lightning, examples/pytorch",
        Place("|state_dict", r"backbone\."),
        Place("|state_dict", r"(backbone_momentum|key_backbone|teacher_backbone)\."),
        marks=(r"projection_head\.",),
        unless=(r"student_backbone\.",),
        naming=CHILDREN,
    ),
    Layout(
        "lightly-dino",
        "lightly-ai/lightly: examples/pytorch_lightning/dino.py",
        Place("|state_dict", r"student_backbone\."),
        Place("|state_dict", r"teacher_backbone\."),
        takes="target",
        naming=CHILDREN,
    ),
    Layout(
        "lightly-benchmark",
        "lightly-ai/lightly: benchmarks/imagenet/resnet50",
        Place("|state_dict", r"backbone\."),
        Place("|state_dict", r"(key|teacher)_backbone\."),
        marks=(r"projection_head\.layers\.",),
        unless=(r"student_backbone\.",),
    ),
    Layout(
        "lightly-benchmark-dino",
        "lightly-ai/lightly: benchmarks/imagenet/resnet50/dino.py, where `backbone` is the teacher",
        Place("|state_dict", r"student_backbone\."),
        Place("|state_dict", r"backbone\."),
        takes="target",
        marks=(r"student_backbone\.conv1",),
    ),
    Layout(
        "vissl",
        "facebookresearch/vissl: models/trunks/resnext.py, hooks/log_hooks.py, extra_scripts/convert_vissl_to_*.py",
        Place(
            "classy_state_dict.base_model.model.trunk|model_state_dict|", r"(trunk\.)?(base_model\.)?_feature_blocks\."
        ),
        Place("loss", r"momentum_teacher\.(module\.)?trunk\._feature_blocks\."),
    ),
    Layout(
        "mmselfsup",
        "open-mmlab/mmselfsup: models/algorithms, releases 0.x (encoder_q.0) and 1.x (encoder_k.module.0)",
        Place("state_dict", r"backbone\."),
        Place("state_dict", r"(encoder_k|momentum_encoder|target_net)\.0\."),
        marks=(r"(neck|head)\.",),
        unless=(r"classifier\.", DENSE),
    ),
    Layout(
        "openselfsup",
        "open-mmlab/OpenSelfSup, WXinlong/DenseCL: openselfsup/models/moco.py, densecl.py; without a head at the top",
        Place("state_dict", r"backbone\.", otherwise=(r"encoder_q\.0\.", r"online_net\.0\.")),
        Place("state_dict", r"(encoder_k|target_net)\.0\."),
        marks=(r"(encoder_[qk]|online_net|target_net)\.\d+\.",),
        unless=(r"(neck|head|classifier)\.", DENSE),
    ),
    Layout(
        "mmdetection",
        "open-mmlab/mmdetection, mmsegmentation: detectors and segmenters that say their configuration",
        Place("state_dict", r"backbone\."),
        marks=(DENSE,),
        says_input=True,
    ),
)
