"""Files under the names of the libraries that others build on: timm, torchvision, detectron2 and transformers."""

from __future__ import annotations

from pretrain.weights.formats import EXPORT
from pretrain.weights.layouts.base import Layout, Place
from pretrain.weights.names import DETECTRON2, TRANSFORMERS

# what training scripts call the dictionary of their network
NETWORK = "|state_dict|model|model_state_dict|model_state|net|network|net_state_dict|module"

LAYOUTS = (
    Layout(
        "timm",
        "huggingface/pytorch-image-models: timm/utils/checkpoint_saver.py",
        Place("state_dict"),
        Place("state_dict_ema"),
        keys=("version=2",),
        shared=True,
        peer="timm",
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
        Place(NETWORK),
        unless=(r"projection_head\.", r"prototypes\."),
        absent_keys=(f"format={EXPORT}", "version=2", "model_ema"),
        shared=True,
    ),
    Layout(
        "detectron2",
        "facebookresearch/detectron2: tools/convert-torchvision-to-d2.py, modeling/backbone/resnet.py, and detectors",
        Place("model|state_dict", r"(backbone\.(bottom_up\.)?)?"),
        head=r"(stem\.)?(fc|linear)\.|res5\.norm\.",
        naming=DETECTRON2,
        moved=((r"^roi_heads\.res5\.", "backbone.res5."),),  # of a C4 detector
        shared=True,
    ),
    Layout(
        "transformers",
        "huggingface/transformers: models/resnet/modeling_resnet.py",
        Place(NETWORK, r"(resnet\.|backbone\.)?"),
        naming=TRANSFORMERS,
        shared=True,
    ),
)
