"""Files under the names of the libraries that others build on: timm, torchvision and detectron2."""

from __future__ import annotations

from pretrain.engine.checkpoint import EXPORT_FORMAT
from transfer.convert.layouts.base import Layout, Place
from transfer.convert.names import DETECTRON2

LAYOUTS = (
    Layout(
        "timm",
        "huggingface/pytorch-image-models: timm/utils/checkpoint_saver.py",
        Place("state_dict"),
        Place("state_dict_ema"),
        keys=("version=2",),
        shared=True,
    ),
    Layout(
        "torchvision-references",
        "pytorch/vision: references/classification/train.py --model-ema",
        Place("model"),
        Place("model_ema"),
        keys=("model_ema",),
        head=r"fc\.|n_averaged$",
        shared=True,
    ),
    Layout(
        "torchvision",
        "pytorch/vision: models/resnet.py; the same names in timm, in pytorch/examples, and in files of trunks alone",
        Place("|state_dict|model"),
        unless=(r"projection_head\.", r"prototypes\."),
        absent_keys=(f"format={EXPORT_FORMAT}", "version=2", "model_ema"),
        head=r"fc\.(weight|bias)$",
        shared=True,
    ),
    Layout(
        "detectron2",
        "facebookresearch/detectron2: tools/convert-torchvision-to-d2.py, modeling/backbone/resnet.py",
        Place("model"),
        head=r"stem\.fc\.",
        naming=DETECTRON2,
        shared=True,
    ),
)
