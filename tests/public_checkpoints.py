"""Checkpoints as the public projects write them: their wrapping, heads, bookkeeping and names, round known ResNets.

Written from each project's code (transfer/convert/layouts.py names repository and files); heads are narrower than
theirs, for no conversion reads them. A recipe takes the online and the target ResNet of torchvision and returns what
the project hands to torch.save.
"""

import argparse
import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

NARROW = 8


def mlp(*widths, bias=True, last_norm=False):
    """Linear, BN, ReLU, ..., Linear, and possibly a BN without affine part."""
    layers = []
    for before, after in zip(widths[:-2], widths[1:-1], strict=True):
        layers += [nn.Linear(before, after, bias=bias), nn.BatchNorm1d(after), nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=bias))
    return nn.Sequential(*layers, *([nn.BatchNorm1d(widths[-1], affine=False)] if last_norm else []))


def holder(**parts):
    """A module with these parts, and buffers where a part is a tensor."""
    module = nn.Module()
    for name, part in parts.items():
        if isinstance(part, torch.Tensor):
            module.register_buffer(name, part)
        else:
            setattr(module, name, part)
    return module


def headed(network, head=None):
    """A copy of a torchvision ResNet whose `fc` is `head`, or the identity."""
    network = copy.deepcopy(network)
    network.fc = head or nn.Identity()
    return network


def children(network):
    return nn.Sequential(*list(copy.deepcopy(network).children())[:-1])


def width(network):
    return network.fc.in_features


def distributed(module):
    return {f"module.{name}": tensor for name, tensor in module.state_dict().items()}


def optimizer(module):
    """What SGD saves after a step: momentum of the last parameters, which are small."""
    sgd = torch.optim.SGD(list(module.parameters())[-2:], lr=0.1, momentum=0.9)
    for parameter in sgd.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    frozen = [parameter.detach().clone() for parameter in sgd.param_groups[0]["params"]]
    sgd.step()
    for parameter, before in zip(sgd.param_groups[0]["params"], frozen, strict=True):
        parameter.data.copy_(before)
        parameter.grad = None
    return sgd.state_dict()


def fc_head(network, mlp_head):
    first = [nn.Linear(width(network), width(network)), nn.ReLU()] if mlp_head else []
    last = nn.Linear(width(network), NARROW)
    return nn.Sequential(*first, last) if mlp_head else last


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


def dino_head():
    return holder(mlp=mlp(NARROW, NARROW, NARROW), last_layer=nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))


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
    "solo-learn": (solo_learn, "solo-learn", "online", True),
    "solo-learn, old": (solo_learn_old, "solo-learn", "online", True),
    "lightly": (lightly, "lightly", "online", True),
    "lightly, dino": (lightly_dino, "lightly-dino", "target", True),
    "lightly, benchmark": (lightly_benchmark, "lightly-benchmark", "online", True),
    "lightly, benchmark of dino": (lightly_benchmark_dino, "lightly-benchmark-dino", "target", True),
    "vissl": (vissl, "vissl", "online", True),
    "vissl, old": (vissl_old, "vissl", "online", False),
    "mmselfsup 1.x": (mmselfsup, "mmselfsup", "online", True),
    "mmselfsup 0.x": (mmselfsup_old, "mmselfsup", "online", True),
    "simclr, sthalles": (simclr_sthalles, "simclr-sthalles", "online", False),
    "timm": (timm, "timm", "online", True),
    "torchvision references": (torchvision_references, "torchvision-references", "online", True),
    "pytorch examples": (pytorch_examples, "torchvision", "online", False),
}
