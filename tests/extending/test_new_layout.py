"""The recipe for a checkpoint layout, carried out: both destinations compute what the source network did."""

import re

import pytest
import torch
import torchvision
from torch import nn

from helpers.checkpoint_files import torchvision_network
from helpers.recipes import PAGE, carry_out, run_in
from pretrain.runtime.errors import UserError
from pretrain.weights.read_trunk import read_trunk
from transfer.detection.modeling.verify import build_resnet

HEADING = "A new checkpoint layout"
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
RENAMED = {  # torchvision's names to the made-up project's, written apart from the recipe
    "conv1.": "stem.conv.",
    "bn1.": "stem.bn.",
    "layer1.": "stages.0.",
    "layer2.": "stages.1.",
    "layer3.": "stages.2.",
    "layer4.": "stages.3.",
    "fc.": "classifier.",
}


def skylark_name(name):
    start = next(start for start in RENAMED if name.startswith(start))
    inner = name.removeprefix(start).replace("downsample.0", "skip.conv").replace("downsample.1", "skip.bn")
    return f"module.backbone.{RENAMED[start]}{inner}"


def skylark_state(network):
    return {skylark_name(name): tensor for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The copy in which the recipe's file was written and its commands were run on a file of the made-up project."""
    copy = carry_out(HEADING, tmp_path_factory.mktemp("layout"))
    student, teacher = torchvision_network("resnet18", 0), torchvision_network("resnet18", 1)
    torch.save({"net": skylark_state(student), "ema": skylark_state(teacher), "epoch": 3}, copy / "skylark.pth")
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {HEADING}\n")[1].split("\n## ")[0]
    for command in re.findall(r"^python (tools/convert\.py .*)$", section, re.MULTILINE):
        done = run_in(copy, *command.split())
        assert done.returncode == 0, done.stderr
        assert "skylark.pth: skylark, resnet18, 120 tensors" in done.stdout
        assert "branch: target (ema backbone); net backbone is there too" in done.stdout
    yield copy
    for path in copy.glob("skylark*"):
        path.unlink()


@pytest.fixture(scope="module")
def expected():
    """Features of the teacher by torch alone: no name of a tensor is looked at."""
    layers = list(torchvision_network("resnet18", 1).children())[:-1]
    with torch.no_grad():
        return nn.Sequential(*layers)(IMAGES).flatten(1)


def test_without_the_file_the_layout_is_not_known(converted):
    with pytest.raises(UserError, match="has no known layout"):
        read_trunk(converted / "skylark.pth")


def test_torchvision_computes_the_source_networks_features(converted, expected):
    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Identity()
    network.load_state_dict(torch.load(converted / "skylark-torchvision.pth", weights_only=True)["state_dict"])
    with torch.no_grad():
        features = network.eval()(IMAGES)
    assert (features - expected).abs().max() <= 1e-4


def test_detectron2_computes_the_source_networks_features(converted, expected):
    from detectron2.checkpoint import DetectionCheckpointer

    network = build_resnet("resnet18")
    DetectionCheckpointer(network, save_to_disk=False).load(str(converted / "skylark-detectron2.pkl"))
    with torch.no_grad():
        features = network(IMAGES)["res5"].mean((2, 3))
    assert (features - expected).abs().max() <= 1e-4
