"""Checkpoints as the public projects write them: their wrapping, heads, bookkeeping and names, round known ResNets.

Written from each project's code (pretrain/weights/layouts/ names repository and files); heads are narrower than
theirs, for no conversion reads them. A recipe takes the online and the target ResNet of torchvision and returns what
the project hands to torch.save.
"""

import argparse
import copy

import torch
from torch import nn

from helpers import public_frameworks as frameworks
from helpers import public_libraries as libraries
from helpers.wrapped_networks import (
    NARROW,
    children,
    dino_head,
    distributed,
    fc_head,
    headed,
    holder,
    mlp,
    optimizer,
    width,
)


def moco(online, target, mlp_head=False):
    model = holder(
        encoder_q=headed(online, fc_head(online, mlp_head)),
        encoder_k=headed(target, fc_head(online, mlp_head)),
        queue=torch.randn(NARROW, 16),
        queue_ptr=torch.zeros(1, dtype=torch.long),
    )
    return {"epoch": 200, "arch": "resnet18", "state_dict": distributed(model), "optimizer": optimizer(model)}


def moco_published(online, target):
    """The published files keep `encoder_q` alone."""
    content = moco(online, target, True)
    kept = {name: tensor for name, tensor in content["state_dict"].items() if "encoder_q" in name}
    return {"epoch": 800, "arch": "resnet18", "state_dict": kept}


def moco_v3(online, target):
    heads = [mlp(width(online), NARROW, NARROW, bias=False, last_norm=True) for _ in range(2)]
    model = holder(
        base_encoder=headed(online, heads[0]),
        momentum_encoder=headed(target, heads[1]),
        predictor=mlp(NARROW, NARROW, NARROW, bias=False),
    )
    content = {"epoch": 300, "arch": "resnet18", "state_dict": distributed(model), "optimizer": optimizer(model)}
    return {**content, "scaler": {"scale": 65536.0, "growth_factor": 2.0}}


def simsiam(online, target):
    model = holder(
        encoder=headed(online, mlp(width(online), NARROW, NARROW, NARROW, bias=False, last_norm=True)),
        predictor=mlp(NARROW, NARROW, NARROW),
    )
    return {"epoch": 100, "arch": "resnet18", "state_dict": distributed(model), "optimizer": optimizer(model)}


def byol_sthalles(online, target):
    nets = [
        holder(encoder=children(network), projetion=holder(net=mlp(width(network), NARROW, NARROW)))
        for network in (online, target)
    ]
    return {
        "online_network_state_dict": nets[0].state_dict(),
        "target_network_state_dict": nets[1].state_dict(),
        "optimizer_state_dict": optimizer(nets[0]),
    }


def byol_yaox12(online, target):
    def dense(before):
        return holder(l1=nn.Linear(before, NARROW), bn1=nn.BatchNorm1d(NARROW), l2=nn.Linear(NARROW, NARROW))

    model = holder(
        online_network=holder(encoder=children(online), projetion=dense(width(online))),
        target_network=holder(encoder=children(target), projetion=dense(width(online))),
        predictor=holder(predictor=dense(NARROW)),
    )
    amp = {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 0}}
    return {"epoch": 9, "steps": 90, "model": distributed(model), "optimizer": optimizer(model), "amp": amp}


def byol_lucidrains(online, target):
    """`net` is the user's network and the online encoder's at once, classifier and all."""
    network = copy.deepcopy(online)
    model = holder(
        net=network,
        online_encoder=holder(net=network, projector=mlp(width(online), NARROW, NARROW)),
        online_predictor=mlp(NARROW, NARROW, NARROW),
        target_encoder=holder(net=copy.deepcopy(target), projector=mlp(width(online), NARROW, NARROW)),
    )
    return model.state_dict()


def swav(online, target, clusters=None):
    network = headed(online)
    network.projection_head = mlp(width(online), NARROW, NARROW)
    network.prototypes = clusters or nn.Linear(NARROW, 30, bias=False)
    return {"epoch": 400, "state_dict": distributed(network), "optimizer": optimizer(network), "amp": {}}


def deepcluster(online, target):
    """DeepCluster v2, of the same repository, has prototypes a clustering."""
    clusters = holder(prototypes0=nn.Linear(NARROW, 30, bias=False), prototypes1=nn.Linear(NARROW, 30, bias=False))
    return swav(online, target, clusters)["state_dict"]


def dino(online, target):
    student, teacher = (holder(backbone=headed(network), head=dino_head()) for network in (online, target))
    return {
        "student": distributed(student),
        "teacher": distributed(teacher),
        "optimizer": optimizer(student),
        "epoch": 100,
        "args": argparse.Namespace(arch="resnet18", lr=0.03, local_crops_scale=(0.05, 0.14)),
        "dino_loss": {"center": torch.zeros(1, NARROW)},
    }


def barlow_twins(online, target):
    model = holder(
        backbone=headed(online),
        projector=mlp(width(online), NARROW, NARROW, bias=False),
        bn=nn.BatchNorm1d(NARROW, affine=False),
    )
    return {"epoch": 1000, "model": distributed(model), "optimizer": optimizer(model)}


def vicreg(online, target):
    model = holder(backbone=headed(online), projector=mlp(width(online), NARROW, NARROW))
    return {"epoch": 1000, "model": distributed(model), "optimizer": optimizer(model)}


def twist(online, target):
    student, teacher = (
        holder(backbone=headed(network), projection_heads=holder(projection_head=mlp(width(online), 8, 8)))
        for network in (online, target)
    )
    return {
        "model": student.state_dict(),
        "backbone": student.backbone.state_dict(),
        "optimizer": optimizer(student),
        "epoch": 299,
        "args": argparse.Namespace(backbone="resnet18"),
        "teacher": teacher.state_dict(),
        "teacher_backbone": teacher.backbone.state_dict(),
    }


# what a file is called here: (recipe, name of its layout, branch that the project evaluates, whether it has both)
RECIPES = {
    "moco v1": (moco, "moco-v1", "online", True),
    "moco v2": (lambda online, target: moco(online, target, True), "moco-v2", "online", True),
    "moco v2 as published": (moco_published, "moco-v2", "online", False),
    "moco v3": (moco_v3, "moco-v3", "online", True),
    "simsiam": (simsiam, "simsiam", "online", False),
    "byol, sthalles": (byol_sthalles, "byol-sthalles", "online", True),
    "byol, yaox12": (byol_yaox12, "byol-yaox12", "online", True),
    "byol, lucidrains": (byol_lucidrains, "byol-lucidrains", "online", True),
    "swav": (swav, "swav", "online", False),
    "swav as published": (lambda online, target: swav(online, target)["state_dict"], "swav", "online", False),
    "deepcluster v2": (deepcluster, "swav", "online", False),
    "dino": (dino, "dino", "target", True),
    "barlow twins": (barlow_twins, "barlow-twins", "online", False),
    "vicreg": (vicreg, "vicreg", "online", False),
    "twist": (twist, "twist", "online", True),
    "solo-learn": (frameworks.solo_learn, "solo-learn", "online", True),
    "solo-learn, old": (frameworks.solo_learn_old, "solo-learn", "online", True),
    "lightly": (frameworks.lightly, "lightly", "online", True),
    "lightly, dino": (frameworks.lightly_dino, "lightly-dino", "target", True),
    "lightly, benchmark": (frameworks.lightly_benchmark, "lightly-benchmark", "online", True),
    "lightly, benchmark of dino": (frameworks.lightly_benchmark_dino, "lightly-benchmark-dino", "target", True),
    "vissl": (frameworks.vissl, "vissl", "online", True),
    "vissl, old": (frameworks.vissl_old, "vissl", "online", False),
    "mmselfsup 1.x": (frameworks.mmselfsup, "mmselfsup", "online", True),
    "mmselfsup 0.x": (frameworks.mmselfsup_old, "mmselfsup", "online", True),
    "simclr, sthalles": (frameworks.simclr_sthalles, "simclr-sthalles", "online", False),
    "timm": (frameworks.timm, "timm", "online", True),
    "torchvision references": (frameworks.torchvision_references, "torchvision-references", "online", True),
    "pytorch examples": (frameworks.pytorch_examples, "torchvision", "online", False),
    "pytorch tutorial": (libraries.tutorial, "torchvision", "online", False),
    "lightly, compiled": (libraries.compiled, "lightly", "online", True),
    "densecl": (libraries.densecl, "openselfsup", "online", True),
    "openselfsup": (libraries.openselfsup_encoder, "openselfsup", "online", True),
    "mmdetection": (libraries.mmdetection, "mmdetection", "online", False),
    "detectron2, FPN": (libraries.detectron2_fpn, "detectron2", "online", False),
    "detectron2, C4": (libraries.detectron2_c4, "detectron2", "online", False),
    "transformers": (libraries.transformers, "transformers", "online", False),
}
