"""Checkpoint files of every layout that conversion knows, as their own code writes them, with uneven BN numbers."""

import copy
from functools import lru_cache

import torch
import torchvision
from torch import nn

from pretrain.engine.checkpoint import export_trunk
from pretrain.models.siamese import Siamese


def uneven(network, seed):
    """Give every BN statistics and affine numbers that are not those of a new network; every counter its own value."""
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in network.modules() if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d))]
    for count, norm in enumerate(norms):
        for tensor in (norm.running_mean, norm.bias.data):
            tensor.normal_(0, 0.3, generator=generator)
        for tensor in (norm.running_var, norm.weight.data):
            tensor.uniform_(0.5, 1.5, generator=generator)
        norm.num_batches_tracked.fill_(100 + count)
    return network


def torchvision_network(arch, seed=0):
    """A network of its own at each call: drawing one takes five times as long as copying it."""
    torch.manual_seed(seed)  # what a caller draws next is the same at each call, too
    return copy.deepcopy(_drawn(arch, seed))


@lru_cache(maxsize=4)
def _drawn(arch, seed):
    torch.manual_seed(seed)
    return uneven(torchvision.models.get_model(arch, weights=None), seed).eval()


def official_network(arch, seed):
    """The official code's structure: nn.Sequential over torchvision's children, a momentum copy, projectors, DDP."""
    network = nn.Module()
    for name, own_seed in (("encoder", seed), ("momentum_encoder", seed + 1)):
        children = list(torchvision_network(arch, own_seed).children())[:-1]
        setattr(network, name, nn.Sequential(*children, nn.Flatten(1)))
    network.projector, network.momentum_projector = nn.Linear(8, 8), nn.Linear(8, 8)
    return network


def assert_same_tensors(actual, expected):
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype and torch.equal(actual[name], tensor), name


def without_fc(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def write_plain(path, arch):
    state = torchvision_network(arch).state_dict()
    torch.save(state, path)
    return without_fc(state)


def write_plain_without_fc(path, arch):
    state = without_fc(torchvision_network(arch).state_dict())
    torch.save(state, path)
    return state


def write_wrapped(path, arch):
    state = torchvision_network(arch).state_dict()
    torch.save({"state_dict": state, "arch": arch, "epoch": 3, "optimizer": {"state": {}}}, path)
    return without_fc(state)


def write_export(path, arch):
    network = torchvision_network(arch)
    network.fc = nn.Identity()
    export_trunk(path, network, arch, {"method": "unigrad", "step": 7, "seed": 1})
    return network.state_dict()


def training_checkpoint(arch):
    torch.manual_seed(0)
    siamese = uneven(Siamese(arch, True, 2, 16), 0)
    config = {"model": {"arch": arch}, "method": {"name": "unigrad"}, "run": {"seed": 5}, "optim": {"batch_size": 32}}
    return {"format": "unigrad-checkpoint", "step": 7, "config": config, "model": siamese.state_dict()}, siamese


def write_checkpoint(path, arch):
    content, siamese = training_checkpoint(arch)
    torch.save(content, path)
    return siamese.online.trunk.state_dict()


def write_official(path, arch):
    network = official_network(arch, 0)
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"model": state, "optimizer": {}, "scaler": {}, "step": 9, "epoch": 1, "F": torch.eye(8)}, path)
    return without_fc(torchvision_network(arch, 0).state_dict())


LAYOUTS = {
    "plain": (write_plain, "torchvision"),
    "plain without fc": (write_plain_without_fc, "torchvision"),
    "wrapped": (write_wrapped, "torchvision"),
    "export": (write_export, "unigrad-export"),
    "checkpoint": (write_checkpoint, "unigrad-checkpoint"),
    "official": (write_official, "official-unigrad"),
}
