"""Every public project's checkpoint, to every destination: its own network computes what the source's did."""

from functools import lru_cache

import pytest
import torch
import torchvision
from checkpoint_files import LAYOUTS as OWN
from checkpoint_files import assert_same_tensors, torchvision_network, without_fc
from public_checkpoints import RECIPES
from torch import nn

from pretrain.errors import UserError
from transfer import convert

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
    trunk = convert.read_trunk(path)
    yield request.param, path, trunk, convert.provenance_of(path, trunk)
    path.unlink()


def in_detectron2(path):
    from detectron2.checkpoint import DetectionCheckpointer

    from transfer.detection.verify import build_resnet

    network = build_resnet("resnet18")
    DetectionCheckpointer(network, save_to_disk=False).load(str(path))
    return lambda image: network(image)["res5"].mean((2, 3))


def in_torchvision(path):
    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Identity()
    network.load_state_dict(torch.load(path, weights_only=True)["state_dict"], strict=True)
    return network.eval()


def in_timm(path):
    timm = pytest.importorskip("timm")
    return timm.create_model("resnet18", num_classes=0, checkpoint_path=str(path)).eval()


def in_safetensors(path):
    from safetensors.torch import load_file

    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Identity()
    network.load_state_dict(load_file(path), strict=True)
    return network.eval()


DESTINATIONS = {
    "detectron2.pkl": ("detectron2", in_detectron2),
    "torchvision.pth": ("torchvision", in_torchvision),
    "timm.pth": ("timm", in_timm),
    "mmdetection.pth": ("mmdetection", in_torchvision),  # mmdetection reads torchvision's names below "state_dict"
    "trunk.safetensors": ("safetensors", in_safetensors),
}


@pytest.mark.parametrize("out", DESTINATIONS)
def test_the_destination_computes_what_the_source_did(tmp_path, file, out):
    kind, _, trunk, origin = file
    _, layout, branch, _ = RECIPES[kind]
    assert (trunk.layout, trunk.arch) == (layout, "resnet18")
    to, load = DESTINATIONS[out]
    convert.DESTINATIONS[to].save(tmp_path / out, trunk, origin)
    with torch.no_grad():
        found = load(tmp_path / out)(IMAGE)
    assert (found - pooled(branch)).abs().max() <= 1e-4


def test_either_branch_is_taken_bit_for_bit_and_named(file):
    kind, path, *_ = file
    if not RECIPES[kind][3]:
        with pytest.raises(UserError, match="single trunk|no tensor of the target branch: choose --branch online"):
            convert.read_trunk(path, "target")
        return
    for branch, network in networks().items():
        found = convert.read_trunk(path, branch)
        assert_same_tensors(found.state, without_fc(network.state_dict()))
        assert found.branch == branch and found.called != found.other and found.other


def test_bottlenecks_map_as_well(tmp_path):
    write(tmp_path / "in.pth", "moco v2 as published", "resnet50")
    path = tmp_path / "in.pth"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "arch": "resnet50"}, path)
    found = convert.read_trunk(path)
    assert_same_tensors(found.state, without_fc(networks("resnet50")["online"].state_dict()))
    convert.save_detectron2(tmp_path / "out.pth", found, {})
    assert_same_tensors(convert.read_trunk(tmp_path / "out.pth").state, found.state)


def test_every_layout_of_the_table_is_written_by_some_test():
    """`detectron2` is by the conversion itself: the way back is in test_convert.py."""
    written = {recipe[1] for recipe in RECIPES.values()} | {name for _, name in OWN.values()} | {"detectron2"}
    assert written == {layout.name for layout in convert.LAYOUTS}
