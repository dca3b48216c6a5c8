"""Every checkpoint layout that conversion knows, as one table: where the trunk lies, what marks it, what is left out.

A layout is recognised by names alone, and only when it is the one that fits. Names are read without the `module.` of
DistributedDataParallel and the `_orig_mod.` of torch.compile. `source` names the public code that writes such files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pretrain.engine.checkpoint import EXPORT_FORMAT

ImageStatistics = tuple[tuple[float, float, float], tuple[float, float, float]]
IMAGENET: ImageStatistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SWAV: ImageStatistics = ((0.485, 0.456, 0.406), (0.228, 0.224, 0.225))  # src/multicropdataset.py really says 0.228
VISSL_TRUNK = "classy_state_dict.base_model.model.trunk"
UNSCALED: ImageStatistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # ToTensor and nothing after it


@dataclass(frozen=True)
class Place:
    """Where a branch lies: dotted keys from the file's top to its dictionary, and the regular expression before names.

    Alternatives of `within` are separated by |, and the file itself is the empty one.
    """

    within: str
    prefix: str = ""


@dataclass(frozen=True)
class Layout:
    """One way in which a project saves a ResNet.

    online: the branch that gradients train. target: the one that follows it. takes: which of them the project itself
        evaluates, and so conversion unless told otherwise.
    marks: expressions of which each fits the start of some name. unless: expressions that fit none.
    beside, alone: keys (or key=value) that the top of the file must, or must not, have.
    head: names below the trunk's prefix that are no trunk. names: how the trunk's tensors are called (names.py).
    pixels: mean and standard deviation of RGB in 0..1 that the project trains with. anyones: names that many projects
        share, so that `pixels` is only what is usual.
    """

    name: str
    source: str
    online: Place
    target: Place | None = None
    takes: str = "online"
    marks: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    head: str = r"fc\."
    names: str = "torchvision"
    pixels: ImageStatistics = IMAGENET
    anyones: bool = False

    def places(self) -> dict[str, Place]:
        """The branches, online first."""
        return {"online": self.online} | ({"target": self.target} if self.target else {})


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
        beside=(f"format={EXPORT_FORMAT}",),
        head=r"(?!)",
    ),
    Layout(
        "official-unigrad",
        "fundamentalvision/UniGrad: project/pretrainer.py",
        Place("model", r"encoder\."),
        Place("model", r"momentum_encoder\."),
        names="children",
    ),
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
        names="children",
        pixels=UNSCALED,
    ),
    Layout(
        "byol-yaox12",
        "yaox12/BYOL-PyTorch: model/byol_model.py, trainer/byol_trainer.py",
        Place("model", r"online_network\.encoder\."),
        Place("model", r"target_network\.encoder\."),
        names="children",
    ),
    Layout(
        "byol-lucidrains",
        "lucidrains/byol-pytorch: byol_pytorch/byol_pytorch.py",
        Place("|state_dict", r"online_encoder\.net\."),
        Place("|state_dict", r"target_encoder\.net\."),
    ),
    Layout(
        "swav",
        "facebookresearch/swav: src/resnet50.py, main_swav.py (also main_deepclusterv2.py)",
        Place("|state_dict"),
        marks=(r"projection_head\.",),
        head=r"(projection_head|prototypes)\.",
        pixels=SWAV,
    ),
    Layout(
        "dino",
        "facebookresearch/dino: main_dino.py, utils.py MultiCropWrapper",
        Place("student", r"backbone\."),
        Place("teacher", r"backbone\."),
        takes="target",
        marks=(r"head\.",),
    ),
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
    Layout(
        "twist",
        "bytedance/TWIST: train.py, evaluate.py",
        Place("backbone"),
        Place("teacher_backbone|ema_backbone"),
    ),
    Layout(
        "solo-learn",
        "vturrisi/solo-learn: solo/methods/base.py, main_linear.py",
        Place("state_dict", r"(backbone|encoder)\."),  # `encoder` up to release 1.0.4
        Place("state_dict", r"momentum_(backbone|encoder)\."),
        marks=(r"classifier\.",),
    ),
    Layout(
        "lightly",
        "lightly-ai/lightly: examples/pytorch_lightning, examples/pytorch",
        Place("|state_dict", r"backbone\."),
        Place("|state_dict", r"(backbone_momentum|key_backbone|teacher_backbone)\."),
        marks=(r"projection_head\.",),
        unless=(r"student_backbone\.",),
        names="children",
    ),
    Layout(
        "lightly-dino",
        "lightly-ai/lightly: examples/pytorch_lightning/dino.py",
        Place("|state_dict", r"student_backbone\."),
        Place("|state_dict", r"teacher_backbone\."),
        takes="target",
        names="children",
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
        Place("state_dict", r"(encoder_k|momentum_encoder|target_net)\.(module\.)?0\."),
        marks=(r"(neck|head)\.",),
        unless=(r"classifier\.",),
    ),
    Layout(
        "simclr-sthalles",
        "sthalles/SimCLR: simclr.py, models/resnet_simclr.py",
        Place("state_dict", r"backbone\."),
        marks=(r"backbone\.fc\.0\.",),
        pixels=UNSCALED,
    ),
    Layout(
        "timm",
        "huggingface/pytorch-image-models: timm/utils/checkpoint_saver.py",
        Place("state_dict"),
        Place("state_dict_ema"),
        beside=("version=2",),
        anyones=True,
    ),
    Layout(
        "torchvision-references",
        "pytorch/vision: references/classification/train.py --model-ema",
        Place("model"),
        Place("model_ema"),
        beside=("model_ema",),
        head=r"fc\.|n_averaged$",
        anyones=True,
    ),
    Layout(
        "torchvision",
        "pytorch/vision: models/resnet.py; the same names in timm, in pytorch/examples, and in files of trunks alone",
        Place("|state_dict|model"),
        unless=(r"projection_head\.", r"prototypes\."),
        alone=(f"format={EXPORT_FORMAT}", "version=2", "model_ema"),
        head=r"fc\.(weight|bias)$",
        anyones=True,
    ),
    Layout(
        "detectron2",
        "facebookresearch/detectron2: tools/convert-torchvision-to-d2.py, modeling/backbone/resnet.py",
        Place("model"),
        head=r"stem\.fc\.",
        names="detectron2",
        anyones=True,
    ),
)


def below(prefix: str, within: str) -> tuple[Layout, ...]:
    """Layouts of a trunk that someone says lies below `prefix`, under torchvision's names or those of nn.Sequential.

    Args:
        within: every place of the file that may hold it, as in `Place`.
    """
    told, where = f"below {prefix or 'no prefix'}", Place(within, re.escape(prefix))
    return tuple(
        Layout(told, "the command line", where, names=names, anyones=True) for names in ("torchvision", "children")
    )


# networks that are no torchvision ResNet, by names that only they have, so that a refusal can say what a file is
FOREIGN = {
    "a vision transformer (MoCo v3 and DINO train those too)": r"(.*\.)?(cls_token|pos_embed|blocks\.\d+\.attn\..*)$",
    "Caffe2 blobs (BGR, stride in the 1x1 convolution, no running statistics)": r"conv1_w$|res2_0_branch2a_w$",
    "a ResNet with a deep stem, as timm's resnet50d": r"(.*\.)?(conv1|stem)\.0\.weight$",
    "a ClassyVision network (VISSL converts those)": r"(.*\.)?initial_block\._module\.0\.weight$",
}
