"""Files under the names of timm's networks: read by NAME, compared with what timm makes of them, and started from."""

from __future__ import annotations

import pytest
import timm
import torch

from helpers.tiny_runs import configure
from pretrain.engine.learner import build, fill_balance
from pretrain.engine.warm_start import origin
from pretrain.runtime.errors import UserError
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import build_trunk

SCALED_OTHERWISE = "vit_tiny_patch16_224"  # timm's weights of that name have seen (x - .5) / .5
NAMES = ("resnet10t", "convnext_atto", "levit_128s", SCALED_OTHERWISE, "deit_tiny_distilled_patch16_224")


def network(name, seed=0, classes=7):
    torch.manual_seed(seed)
    return timm.create_model(name, pretrained=False, num_classes=classes)


@pytest.fixture
def file(tmp_path):
    """Writes a checkpoint as timm's training script does, of a network in DistributedDataParallel."""

    def write(name, averaged=False):
        networks = {"state_dict": network(name), **({"state_dict_ema": network(name, 1)} if averaged else {})}
        states = {
            key: {f"module.{inner}": one for inner, one in of.state_dict().items()} for key, of in networks.items()
        }
        torch.save({"epoch": 3, "arch": name, "version": 2, **states}, tmp_path / f"{name}.pth.tar")
        return tmp_path / f"{name}.pth.tar"

    return write


@pytest.mark.parametrize("name", NAMES)
def test_the_trunk_of_a_file_gives_the_features_of_timm_without_the_classifier(file, name):
    found = read_trunk(file(name), arch=f"timm/{name}")
    expected = network(name).eval()
    expected.reset_classifier(0)
    side = timm.get_pretrained_cfg(name).input_size[-1]
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(build_trunk(found)(image), expected(image), rtol=1e-5, atol=1e-5)
    assert (found.layout, found.meta["epoch"]) == ("timm", 3)
    known = timm.get_pretrained_cfg(name)
    assert found.pixels == (tuple(known.mean), tuple(known.std))


def test_the_moving_average_is_the_target_branch(file):
    path = file("resnet10t", averaged=True)
    for branch, seed in ((None, 0), ("target", 1)):
        found = read_trunk(path, branch, "timm/resnet10t")
        assert torch.equal(found.state["conv1.0.weight"], network("resnet10t", seed).state_dict()["conv1.0.weight"])


@pytest.mark.parametrize(
    ("arch", "branch", "told"),
    [
        ("timm/convnext_atto", None, "holds no tensor with a name of timm/convnext_atto, such as stem.0.weight"),
        ("timm/resnet10t", "target", "holds no tensor in state_dict_ema with a name of timm/resnet10t"),
        ("timm/resnet14t", None, "is not a whole timm/resnet14t trunk: it lacks"),
    ],
)
def test_a_file_of_another_network_or_branch_is_one_sentence(file, arch, branch, told):
    with pytest.raises(UserError, match=told):
        read_trunk(file("resnet10t"), branch, arch)


def test_a_run_starts_from_a_file_of_timm_and_refuses_pixels_of_another_scale(file, tmp_path):
    words = ["model.arch=timm/resnet10t", f"model.init={file('resnet10t')}"]
    cfg = fill_balance(configure("images", tmp_path / "run", *words))
    learner = build(cfg, torch.device("cpu"), 0, origin.read(cfg, print))
    expected = network("resnet10t").state_dict()
    for branch in (learner.model.online, learner.model.target):
        assert all(torch.equal(one, expected[name]) for name, one in branch.trunk.state_dict().items())
    words = [f"model.arch=timm/{SCALED_OTHERWISE}", f"model.init={file(SCALED_OTHERWISE)}", "views.size=224"]
    with pytest.raises(UserError, match=r"add data.channels=3 data.mean=\[0.5,0.5,0.5\] data.std=\[0.5,0.5,0.5\]"):
        origin.read(configure("images", tmp_path / "other", *words), print)
