"""Every public project's checkpoint, to every destination: its own network computes what the source's did."""

import dataclasses
from functools import lru_cache

import pytest
import torch
import torchvision
from torch import nn

from helpers.checkpoint_files import LAYOUTS as OWN
from helpers.checkpoint_files import assert_same_tensors, torchvision_network, without_fc
from helpers.public_checkpoints import RECIPES
from pretrain.runtime.errors import UserError
from pretrain.weights import names, recognise
from pretrain.weights.layouts import LAYOUTS
from pretrain.weights.read_trunk import read_trunk
from transfer.convert.destinations import DESTINATIONS
from transfer.convert.peers import peer_of
from transfer.convert.verify import write_verified
from transfer.convert.write import provenance_of, save_detectron2

IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


@lru_cache
def networks(arch="resnet18"):
    return {"online": torchvision_network(arch, 0), "target": torchvision_network(arch, 1)}


@lru_cache
def pooled(branch, arch="resnet18"):
    """The source network's features: the oracle knows nothing of names."""
    with torch.no_grad():
        return nn.Sequential(*list(networks(arch)[branch].children())[:-1])(IMAGE).flatten(1)


def write(path, kind, arch="resnet18"):
    torch.save(RECIPES[kind][0](*networks(arch).values()), path)


@pytest.fixture(scope="module", params=RECIPES)
def file(request, tmp_path_factory):
    """One file of each kind for all tests of it: (kind, path, trunk as it is read without options, its provenance)."""
    path = tmp_path_factory.mktemp("project") / "in.pth"
    write(path, request.param)
    trunk = read_trunk(path)
    yield request.param, path, trunk, provenance_of(path, trunk)
    path.unlink()


@lru_cache
def network_of(library):
    """Each library's own network, built once."""
    if library == "detectron2":
        from transfer.detection.modeling.verify import build_resnet

        return build_resnet("resnet18")
    if library == "timm":
        return pytest.importorskip("timm").create_model("resnet18", num_classes=0).eval()
    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Identity()
    return network.eval()


def spoilt(library):
    """The network with nothing usable in it, so that a tensor that is not loaded shows."""
    network = network_of(library)
    for tensor in network.state_dict().values():
        tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    return network


def in_detectron2(path):
    from detectron2.checkpoint import DetectionCheckpointer

    network = spoilt("detectron2")
    DetectionCheckpointer(network, save_to_disk=False).load(str(path))
    return lambda image: network(image)["res5"].mean((2, 3))


def in_torchvision(path):
    network = spoilt("torchvision")
    network.load_state_dict(torch.load(path, weights_only=True)["state_dict"], strict=True)
    return network


def in_timm(path):
    network = spoilt("timm")
    pytest.importorskip("timm").models.load_checkpoint(network, str(path))
    return network


def in_safetensors(path):
    from safetensors.torch import load_file

    network = spoilt("torchvision")
    network.load_state_dict(load_file(path), strict=True)
    return network


LOADERS = {
    "detectron2.pkl": ("detectron2", in_detectron2),
    "torchvision.pth": ("torchvision", in_torchvision),
    "timm.pth": ("timm", in_timm),
    "mmdetection.pth": ("mmdetection", in_torchvision),  # mmdetection reads torchvision's names below "state_dict"
    "trunk.safetensors": ("safetensors", in_safetensors),
}


@pytest.mark.parametrize("out", LOADERS)
def test_the_destination_computes_what_the_source_did(tmp_path, file, out):
    kind, _, trunk, origin = file
    _, layout, branch, _ = RECIPES[kind]
    assert (trunk.layout, trunk.arch) == (layout, "resnet18")
    to, load = LOADERS[out]
    DESTINATIONS[to].write(tmp_path / out, trunk, origin)
    with torch.no_grad():
        found = load(tmp_path / out)(IMAGE)
    assert (found - pooled(branch)).abs().max() <= 1e-4


def test_the_sources_own_network_computes_what_the_source_did(file):
    """The network that conversions are compared with is filled under the file's names, and knows of no renaming."""
    kind, _, trunk, _ = file
    with torch.no_grad():
        *_, last = peer_of(trunk).stages(trunk, IMAGE)
    assert (last.mean((2, 3)) - pooled(RECIPES[kind][2])).abs().max() <= 1e-4


def test_a_conversion_that_swaps_two_names_differs_from_the_sources_own_network(tmp_path, monkeypatch):
    """torchvision's network, filled under the swapped names, would agree with the wrong file."""
    write(tmp_path / "in.pth", "lightly")
    right = names.from_child_name
    swapped = {"layer1.0.bn1.bias": "layer1.0.bn2.bias", "layer1.0.bn2.bias": "layer1.0.bn1.bias"}
    naming = names.Naming("0.weight", lambda name: swapped.get(right(name), right(name)), names.CHILDREN.peer)
    layout = next(one for one in LAYOUTS if one.name == "lightly")
    monkeypatch.setattr(recognise, "LAYOUTS", (dataclasses.replace(layout, naming=naming),))
    trunk = read_trunk(tmp_path / "in.pth")
    to = DESTINATIONS["torchvision"]
    with pytest.raises(UserError, match="differs from its source .* in res2"):
        write_verified(tmp_path / "out.pth", trunk, lambda path: to.write(path, trunk, {}), to.ready_verifier().stages)
    assert not (tmp_path / "out.pth").exists()


def test_either_branch_is_taken_bit_for_bit_and_named(file):
    kind, path, trunk, _ = file
    if not RECIPES[kind][3]:
        with pytest.raises(UserError, match="single trunk|no tensor of the target branch: choose --branch online"):
            read_trunk(path, "target")
        return
    other = "online" if trunk.branch == "target" else "target"
    for found in (trunk, read_trunk(path, other)):
        assert_same_tensors(found.state, without_fc(networks()[found.branch].state_dict()))
        assert found.called != found.other and found.other
    assert (trunk.branch, found.branch) == (RECIPES[kind][2], other)


@pytest.mark.slow
def test_bottlenecks_map_as_well(tmp_path):
    write(tmp_path / "in.pth", "moco v2 as published", "resnet50")
    path = tmp_path / "in.pth"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "arch": "resnet50"}, path)
    found = read_trunk(path)
    assert_same_tensors(found.state, without_fc(networks("resnet50")["online"].state_dict()))
    save_detectron2(tmp_path / "out.pth", found, {})
    assert_same_tensors(read_trunk(tmp_path / "out.pth").state, found.state)


def test_every_layout_of_the_table_is_written_by_some_test():
    written = {recipe[1] for recipe in RECIPES.values()} | {name for _, name in OWN.values()}
    assert written == {layout.name for layout in LAYOUTS}
