"""--inspect says what a file is, and what it can say of a file that conversion refuses."""

import json
import pickle

import pytest
import torch

from helpers.checkpoint_files import torchvision_network, write_export
from helpers.public_checkpoints import RECIPES
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from pretrain.weights.read_trunk import read_trunk
from tools import convert as tool
from transfer.convert.write import tensors_sha256

pytestmark = pytest.mark.slow


def inspected(path, capsys, *options):
    tool.main([str(path), "--inspect", *options])
    return capsys.readouterr().out


def write(path, kind):
    torch.save(RECIPES[kind][0](torchvision_network("resnet18", 0), torchvision_network("resnet18", 1)), path)


def test_a_training_checkpoint_is_told_in_full(tmp_path, capsys):
    write(tmp_path / "in.pth", "dino")
    told = inspected(tmp_path / "in.pth", capsys)
    for expected in (
        f"sha256 {sha256_of(tmp_path / 'in.pth')}",
        "says of itself: epoch=100",
        "student.backbone: 120 tensors, 11,186,132 numbers, float32, int64, running statistics\n",
        "teacher.head: ",
        "optimizer.state: 2 tensors",
        "layout: dino (facebookresearch/dino: main_dino.py",
        "branch online: student backbone",
        "branch target: teacher backbone",
        "trunk: resnet18, 120 tensors from teacher backbone, whole, finite, with running statistics",
        "mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225), as its project trains with",
        "left out: student.backbone (120), student.head",
    ):
        assert expected in told
    assert "120 tensors from student backbone" in inspected(tmp_path / "in.pth", capsys, "--branch", "online")


def test_half_precision_missing_counters_and_broken_values_show(tmp_path, capsys):
    state = torchvision_network("resnet18").half().state_dict()
    state["layer1.0.bn1.bias"][2] = float("inf")
    torch.save({name: one for name, one in state.items() if "num_batches" not in name}, tmp_path / "in.pth")
    with pytest.raises(UserError, match=r"not finite in layer1\.0\.bn1\.bias"):
        inspected(tmp_path / "in.pth", capsys)
    told = capsys.readouterr().out
    assert "float16, running statistics without counters, NOT FINITE in 1\n" in told


def test_a_network_of_timm_is_told_where_its_name_is_given(tmp_path, capsys):
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_efficientnet")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "in.pth")
    told = inspected(tmp_path / "in.pth", capsys, "--arch", "timm/test_efficientnet")
    classifier = sum(name.startswith("classifier.") for name in network.state_dict())
    trunk = len(network.state_dict()) - classifier
    assert "layout: the names of timm/test_efficientnet, as --arch says\n" in told
    assert f"trunk: timm/test_efficientnet, {trunk} tensors from state_dict, whole" in told
    assert f"left out: classifier ({classifier})" in told
    with pytest.raises(UserError, match="if its names are those of a network of timm, add --arch timm/NAME"):
        inspected(tmp_path / "in.pth", capsys)


def test_another_network_than_the_expected_one_is_refused(tmp_path, capsys):
    write(tmp_path / "in.pth", "dino")
    with pytest.raises(UserError, match="is a resnet18, not the resnet50 that was asked for"):
        inspected(tmp_path / "in.pth", capsys, "--arch", "resnet50")


def test_an_unknown_file_is_still_listed(tmp_path, capsys):
    torch.save({"net": {"a.weight": torch.zeros(3)}, "epoch": 4}, tmp_path / "in.pth")
    with pytest.raises(UserError, match="no known layout"):
        inspected(tmp_path / "in.pth", capsys)
    told = capsys.readouterr().out
    assert "net.a: 1 tensors, 3 numbers, float32\n" in told and "says of itself: epoch=4\n" in told


def test_the_tool_says_which_branch_it_took_and_what_it_left_out(tmp_path, capsys):
    write(tmp_path / "in.pth", "dino")
    tool.main([str(tmp_path / "in.pth"), str(tmp_path / "out.pth"), "--to", "torchvision"])
    told = capsys.readouterr().out
    assert "branch: target (teacher backbone); student backbone is there too: --branch\n" in told
    assert "left out: student.backbone (120)" in told
    assert f"sha256 {sha256_of(tmp_path / 'out.pth')}\n" in told


def test_pixel_statistics_of_a_project_survive_every_further_conversion(tmp_path, capsys):
    """SwAV's code divides red by 0.228, not 0.229 (src/multicropdataset.py)."""
    write(tmp_path / "in.pth", "swav")
    tool.main([str(tmp_path / "in.pth"), str(tmp_path / "one.safetensors"), "--to", "safetensors"])
    tool.main([str(tmp_path / "one.safetensors"), str(tmp_path / "two.pkl"), "--to", "detectron2"])
    assert "MODEL.PIXEL_STD [58.14, 57.12, 57.375]" in capsys.readouterr().out
    assert provenance(tmp_path / "two.pkl")["input"]["std"] == [0.228, 0.224, 0.225]
    assert "std (0.228, 0.224, 0.225), as the file says" in inspected(tmp_path / "two.pkl", capsys)


def provenance(path):
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as opened:
            return json.loads(opened.metadata()["provenance"])
    if path.suffix == ".pkl":
        return pickle.loads(path.read_bytes())["provenance"]
    return torch.load(path, weights_only=True)["provenance"]


WAYS = [
    ("detectron2", "one.pkl"),
    ("detectron2", "two.pth"),
    ("mmdetection", "three.pth"),
    ("timm", "four.pth"),
    ("safetensors", "five.safetensors"),
    ("torchvision", "six.pth"),
]


def test_every_way_there_and_back_is_bit_for_bit_and_says_so(tmp_path):
    """One file through every destination in turn, each made of the one before."""
    write_export(tmp_path / "zero.pth", "resnet18")
    original = read_trunk(tmp_path / "zero.pth")
    before = tmp_path / "zero.pth"
    for to, name in WAYS:
        tool.main([str(before), str(tmp_path / name), "--to", to])
        found = read_trunk(tmp_path / name)
        assert list(found.state) == list(original.state)
        assert all(torch.equal(found.state[key], tensor) for key, tensor in original.state.items())
        assert found.meta.items() >= {"method": "unigrad", "step": 7, "seed": 1}.items()
        told = provenance(tmp_path / name)
        assert told["sha256"] == sha256_of(before)
        assert told["tensors_sha256"] == tensors_sha256(original.state)
        assert told["input"]["format"] == "RGB" and told["input"]["stride_in_1x1"] is False
        assert len(told["mapping"]) == len(original.state) and told["commit"]
        before = tmp_path / name
    assert provenance(tmp_path / "one.pkl")["mapping"]["stem.conv1.norm.bias"] == "state_dict.bn1.bias"
    assert provenance(tmp_path / "two.pth")["mapping"]["stem.conv1.norm.bias"] == "model.stem.conv1.norm.bias"
    first = pickle.loads((tmp_path / "one.pkl").read_bytes())["model"]
    tool.main([str(before), str(tmp_path / "again.pkl"), "--to", "detectron2"])
    again = pickle.loads((tmp_path / "again.pkl").read_bytes())["model"]
    assert list(first) == list(again)
    assert all(first[name].dtype == again[name].dtype and (first[name] == again[name]).all() for name in first)
