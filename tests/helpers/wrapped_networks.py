"""What the recipes of public checkpoints are put together from: heads, holders, and what DDP and SGD save."""

import copy

import torch
from torch import nn

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


def dino_head():
    return holder(mlp=mlp(NARROW, NARROW, NARROW), last_layer=nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))
