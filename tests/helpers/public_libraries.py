"""Checkpoints of libraries that hold a ResNet inside a larger network; recipes as in public_checkpoints.py."""

import copy
from collections import defaultdict

import torch
from torch import nn

from helpers.wrapped_networks import NARROW, headed, holder, mlp, optimizer, width


def sequence(parts):
    return nn.ModuleList(list(parts))


def transformers_layer(convolution, normalization):
    return holder(convolution=copy.deepcopy(convolution), normalization=copy.deepcopy(normalization))


def transformers_block(block):
    numbers = [number for number in (1, 2, 3) if hasattr(block, f"conv{number}")]
    pairs = [(getattr(block, f"conv{number}"), getattr(block, f"bn{number}")) for number in numbers]
    layers = holder(layer=sequence(transformers_layer(*pair) for pair in pairs))
    if block.downsample is not None:
        layers.shortcut = transformers_layer(*block.downsample)
    return layers


def transformers(online, target):
    """The tree of ResNetForImageClassification."""
    stages = [getattr(online, f"layer{number}") for number in (1, 2, 3, 4)]
    resnet = holder(
        embedder=holder(embedder=transformers_layer(online.conv1, online.bn1)),
        encoder=holder(stages=sequence(holder(layers=sequence(map(transformers_block, one))) for one in stages)),
    )
    return holder(resnet=resnet, classifier=nn.Sequential(nn.Flatten(), nn.Linear(width(online), 7))).state_dict()


def densecl(online, target):
    """OpenSelfSup's MoCo and DenseCL: a neck beside each encoder, and no head with parameters."""

    def neck():
        return holder(mlp=mlp(width(online), 8, 8), mlp2=nn.Sequential(nn.Conv2d(8, 8, 1)))

    backbone = headed(online)
    model = holder(
        encoder_q=nn.Sequential(backbone, neck()),
        encoder_k=nn.Sequential(headed(target), neck()),
        backbone=backbone,
        queue=torch.randn(NARROW, 16),
        queue2=torch.randn(NARROW, 16),
    )
    config = "model = dict(type='DENSECL', backbone=dict(type='ResNet', depth=18, norm_cfg=dict(type='SyncBN')))\n"
    images = "img_norm_cfg = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])\n"
    return {"meta": {"epoch": 200, "config": config + images}, "state_dict": model.state_dict()}


def openselfsup_encoder(online, target):
    """The same without the second name of the backbone."""
    state = {
        name: one for name, one in densecl(online, target)["state_dict"].items() if not name.startswith("backbone.")
    }
    return {"state_dict": state}


def detectron2_parts(network):
    """(first word of torchvision's name, detectron2's name, tensor), written apart from the conversion's table."""
    norms = {"bn1": "conv1.norm", "bn2": "conv2.norm", "bn3": "conv3.norm"}
    for name, tensor in network.state_dict().items():
        first, *rest = name.split(".")
        if first in ("conv1", "bn1"):
            yield first, ".".join(["stem", norms.get(first, first), *rest]), tensor
        elif first.startswith("layer"):
            number, *inner = rest
            words = (
                ".".join(inner).replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm").split(".")
            )
            yield first, ".".join([f"res{int(first[-1]) + 1}", number, *(norms.get(one, one) for one in words)]), tensor


def detectron2_fpn(online, target):
    """A detector with frozen norms, which have no counters."""
    trunk = {
        f"backbone.bottom_up.{name}": one for _, name, one in detectron2_parts(online) if "num_batches" not in name
    }
    others = {
        "backbone.fpn_lateral2.weight": torch.zeros(8, 64, 1, 1),
        "roi_heads.box_head.fc1.weight": torch.zeros(8, 8),
    }
    return {"model": {**trunk, **others, "proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4)}}


def detectron2_c4(online, target):
    """A C4 detector: res5 belongs to the heads, with this project's norm behind it."""
    trunk = {
        f"{'roi_heads.' if first == 'layer4' else 'backbone.'}{name}": one
        for first, name, one in detectron2_parts(online)
    }
    norm = nn.BatchNorm2d(width(online))
    others = {f"roi_heads.res5.norm.{name}": one for name, one in norm.state_dict().items()}
    return {"model": {**trunk, **others}, "optimizer": optimizer(norm), "iteration": 9}


def mmdetection(online, target):
    """A detector that says its configuration, in which mmdetection's ResNet is torchvision's."""
    model = holder(
        backbone=headed(online),
        neck=holder(lateral_convs=sequence([nn.Conv2d(64, 8, 1)]), fpn_convs=sequence([nn.Conv2d(8, 8, 3)])),
        rpn_head=holder(rpn_conv=nn.Conv2d(8, 8, 3)),
        roi_head=holder(bbox_head=holder(fc_cls=nn.Linear(8, 3))),
    )
    config = (
        "norm_cfg = dict(type='BN', requires_grad=True)\n"
        "model = dict(type='FasterRCNN', backbone=dict(type='ResNet', depth=18, style='pytorch', norm_cfg=norm_cfg,\n"
        "    init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')))\n"
        "img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)\n"
    )
    return {
        "meta": {"mmdet_version": "2.25.0", "config": config, "CLASSES": ("a", "b")},
        "state_dict": model.state_dict(),
    }


def compiled(online, target):
    """lightly's MoCo whose backbone alone is compiled, and wrapped again within."""
    from helpers.public_frameworks import lightly

    content = lightly(online, target)
    state = {
        name.replace("backbone.", "backbone._orig_mod.module.", 1): one for name, one in content["state_dict"].items()
    }
    history = defaultdict(list, loss=[1.0])
    return {**content, "state_dict": state, "history": history}


def tutorial(online, target):
    """PyTorch's tutorial on saving calls its dictionary model_state_dict; the head has a name of its own."""
    state = {name.replace("fc.", "last_linear.1."): one for name, one in online.state_dict().items()}
    return {"epoch": 5, "model_state_dict": state, "optimizer_state_dict": optimizer(online), "loss": 0.4}
