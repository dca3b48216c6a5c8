"""A trunk in the hands of others: each example of docs/loading.md computes the features that the trunk had."""

import hashlib
import re

import pytest
import torch
import torchvision
from torch import nn

import pretrain
from helpers.checkpoint_files import assert_same_tensors, training_checkpoint, write_export, write_official
from helpers.repository import ROOT
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.pixels import IMAGENET
from pretrain.runtime.errors import UserError
from pretrain.weights.read_trunk import read_trunk
from tools import convert as tool

EXAMPLES = dict(
    re.findall(r"^## (\S+)$.*?^```python\n(.*?)^```$", (ROOT / "docs/loading.md").read_text(), re.DOTALL | re.MULTILINE)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that the page begins with, made by the commands it shows."""
    folder = tmp_path_factory.mktemp("loading")
    write_export(folder / "trunk.pth", "resnet18")
    for command in re.findall(r"^python tools/convert.py (.*)$", (ROOT / "docs/loading.md").read_text(), re.MULTILINE):
        source, out, *options = command.split()
        tool.main([str(folder / source), str(folder / out), *options])
    yield folder
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchvision", "timm", "transformers", "detectron2", "torch.hub"])
def test_the_example_computes_the_trunks_features(folder, monkeypatch, library):
    pytest.importorskip(library)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen = {"pixels": pixels, "REPOSITORY": str(ROOT)}
    monkeypatch.chdir(folder)
    with torch.no_grad():
        exec(EXAMPLES[library], seen)
    trunk = pretrain.load_trunk(folder / "trunk.pth")
    normalised = (pixels - torch.tensor(IMAGENET.mean)[:, None, None]) / torch.tensor(IMAGENET.std)[:, None, None]
    parts = [*trunk.children()][: -3 if library == "detectron2" else None]  # res4 is what precedes layer4
    parts = parts if library == "detectron2" else [*parts[:-1], nn.Flatten(1)]
    with torch.no_grad():
        expected = nn.Sequential(*parts)(normalised)
    assert (seen["features"] - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1)


@pytest.mark.slow
def test_load_trunk_gives_torchvisions_network_from_whatever_a_run_leaves(tmp_path):
    content, siamese = training_checkpoint("resnet18")
    torch.save(content, tmp_path / "checkpoint.pth")
    trunk = pretrain.load_trunk(tmp_path / "checkpoint.pth")
    assert type(trunk.bn1) is nn.BatchNorm2d and not trunk.training
    assert_same_tensors(trunk.state_dict(), siamese.online.trunk.state_dict())
    expected = write_official(tmp_path / "official.pth", "resnet18")
    tool.main([str(tmp_path / "official.pth"), str(tmp_path / "out.pth"), "--to", "torchvision"])
    assert_same_tensors(pretrain.load_trunk(tmp_path / "out.pth").state_dict(), expected)


def test_a_tensor_of_an_export_that_is_not_as_written_is_named(tmp_path):
    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Identity()
    export_trunk(tmp_path / "trunk.pth", network, "resnet18", {"step": 7})
    content = torch.load(tmp_path / "trunk.pth", weights_only=True)
    whole = content["state_dict"]["layer2.0.conv1.weight"]
    assert content["digests"]["layer2.0.conv1.weight"] == hashlib.sha256(whole.numpy().tobytes()).hexdigest()
    whole.view(-1)[5] += 1
    torch.save(content, tmp_path / "trunk.pth")
    for read in (pretrain.load_trunk, read_trunk):
        with pytest.raises(UserError, match=r"the SHA-256 of layer2\.0\.conv1\.weight is not the one"):
            read(tmp_path / "trunk.pth")
    del content["digests"]  # as earlier code exported
    torch.save(content, tmp_path / "trunk.pth")
    for read in (pretrain.load_trunk, read_trunk):
        read(tmp_path / "trunk.pth")


@pytest.mark.parametrize(
    "content",
    [
        *({}, {"arch": "resnet18", "state_dict": {}}, {"arch": "vit", "state_dict": {}}, [1]),
        *({"format": "unigrad-checkpoint"}, {"format": "unigrad-checkpoint", "config": {"model": []}}),
    ],
)
def test_load_trunk_names_the_command_that_makes_a_trunk(tmp_path, content):
    torch.save(content, tmp_path / "in.pth")
    with pytest.raises(UserError, match=r"python tools/convert.py .*in\.pth trunk\.pth --to torchvision"):
        pretrain.load_trunk(tmp_path / "in.pth")
