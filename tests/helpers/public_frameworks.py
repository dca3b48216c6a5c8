"""Checkpoints of frameworks and libraries that hold many methods; recipes as in public_checkpoints.py."""

import argparse
import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

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


def lightning(module, **more):
    """What Lightning's trainer saves round a module."""
    return {
        "epoch": 99,
        "global_step": 500,
        "pytorch-lightning_version": "2.1.2",
        "state_dict": module.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": None, "dirpath": "x"}},
        "optimizer_states": [optimizer(module)],
        "lr_schedulers": [{"last_epoch": 99}],
        **more,
    }


def solo_learn(online, target):
    return lightning(
        holder(
            backbone=headed(online),
            classifier=nn.Linear(width(online), 10),
            projector=mlp(width(online), NARROW, NARROW),
            predictor=mlp(NARROW, NARROW, NARROW),
            momentum_backbone=headed(target),
            momentum_projector=mlp(width(online), NARROW, NARROW),
        )
    )


def solo_learn_old(online, target):
    """Releases that call it `encoder`; DINO's head there is called `head`."""
    return lightning(
        holder(
            encoder=headed(online),
            classifier=nn.Linear(width(online), 10),
            head=dino_head(),
            momentum_encoder=headed(target),
            momentum_head=dino_head(),
        )
    )


def lightly_head(network, before=None):
    return holder(layers=mlp(before or width(network), NARROW, NARROW, bias=False))


def lightly(online, target):
    return lightning(
        holder(
            backbone=children(online),
            projection_head=lightly_head(online),
            prediction_head=lightly_head(online, NARROW),
            backbone_momentum=children(target),
            projection_head_momentum=lightly_head(online),
        )
    )


def lightly_dino(online, target):
    return lightning(
        holder(
            student_backbone=children(online),
            student_head=lightly_head(online),
            teacher_backbone=children(target),
            teacher_head=lightly_head(online),
            criterion=holder(center=torch.zeros(1, 1, NARROW)),
        )
    )


def lightly_benchmark(online, target):
    return lightning(
        holder(
            backbone=headed(online),
            projection_head=lightly_head(online),
            key_backbone=headed(target),
            key_projection_head=lightly_head(online),
            criterion=holder(memory_bank=holder(bank=torch.zeros(16, NARROW))),
            online_classifier=holder(linear=nn.Linear(width(online), 10)),
        )
    )


def lightly_benchmark_dino(online, target):
    return lightning(
        holder(
            backbone=headed(target),
            projection_head=lightly_head(online),
            student_backbone=headed(online),
            student_projection_head=lightly_head(online),
            online_classifier=holder(linear=nn.Linear(width(online), 10)),
        )
    )


def vissl_trunk(network):
    parts = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    network = copy.deepcopy(network)
    return holder(_feature_blocks=nn.ModuleDict({part: getattr(network, part) for part in parts}))


def vissl(online, target):
    heads = nn.ModuleList([holder(clf=mlp(width(online), NARROW, NARROW))])
    teacher = holder(module=holder(trunk=vissl_trunk(target), heads=heads))
    model = {"trunk": vissl_trunk(online).state_dict(), "heads": heads.state_dict()}
    base = {"model": model, "meta": {"trunk": {}, "heads": []}}
    return {
        "phase_idx": 99,
        "iteration": 5000,
        "loss": {"center": torch.zeros(1, 8), **holder(momentum_teacher=teacher).state_dict()},
        "iteration_num": 49,
        "train_phase_idx": 99,
        "classy_state_dict": {"base_model": base, "optimizer": {"optim": optimizer(heads)}, "phase_idx": 99},
    }


def vissl_old(online, target):
    return {"model_state_dict": vissl_trunk(online).state_dict(), "type": "consolidated"}


def mm_parts(online):
    neck = holder(fc0=nn.Linear(width(online), 8), bn0=nn.BatchNorm1d(8), fc1=nn.Linear(8, 8))
    head = holder(predictor=holder(fc0=nn.Linear(8, 8), bn0=nn.BatchNorm1d(8), fc1=nn.Linear(8, 8)))
    return {"neck": neck, "head": head}


def mmselfsup(online, target):
    """Release 1.x: ExponentialMovingAverage keeps a module and the number of its steps."""
    parts = mm_parts(online)
    target_net = holder(module=nn.Sequential(headed(target), copy.deepcopy(parts["neck"])), steps=torch.tensor(7))
    model = holder(backbone=headed(online), **parts, target_net=target_net)
    meta = {"epoch": 200, "iter": 1000, "mmengine_version": "0.3.1", "seed": 0, "experiment_name": "byol"}
    return {"meta": meta, "state_dict": model.state_dict(), "optimizer": optimizer(model), "message_hub": {}}


def mmselfsup_old(online, target):
    """Release 0.x: the backbone is also the first part of `encoder_q`."""
    parts = mm_parts(online)
    backbone = headed(online)
    model = holder(
        encoder_q=nn.Sequential(backbone, parts["neck"]),
        encoder_k=nn.Sequential(headed(target), copy.deepcopy(parts["neck"])),
        backbone=backbone,
        **parts,
        queue=torch.randn(NARROW, 16),
    )
    meta = {"epoch": 200, "mmselfsup_version": "0.11.0", "config": "model = dict(type='MoCo')\n" * 40}
    return {"meta": meta, "state_dict": model.state_dict(), "optimizer": optimizer(model)}


def simclr_sthalles(online, target):
    model = holder(backbone=headed(online, fc_head(online, True)))
    return {"epoch": 100, "arch": "resnet18", "state_dict": model.state_dict(), "optimizer": optimizer(model)}


def timm(online, target):
    return {
        "epoch": 5,
        "arch": "resnet18",
        "state_dict": online.state_dict(),
        "optimizer": optimizer(online),
        "version": 2,
        "args": argparse.Namespace(model="resnet18", opt="sgd"),
        "state_dict_ema": target.state_dict(),
        "metric": 71.0,
    }


def torchvision_references(online, target):
    averaged = AveragedModel(target)
    args = argparse.Namespace(model="resnet18", lr=0.5)
    content = {"model": online.state_dict(), "optimizer": optimizer(online), "lr_scheduler": {"last_epoch": 3}}
    return {**content, "epoch": 2, "args": args, "model_ema": averaged.state_dict()}


def pytorch_examples(online, target):
    best = torch.tensor(70.0)
    content = {"epoch": 90, "arch": "resnet18", "state_dict": distributed(online), "best_acc1": best}
    return {**content, "optimizer": optimizer(online), "scheduler": {"last_epoch": 90}}
