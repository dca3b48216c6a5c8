"""Conversion refuses what is not a whole trunk, in one sentence and with exit code 2, and leaves every file alone."""

import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers import tool_process
from helpers.checkpoint_files import official_network, torchvision_network, write_plain
from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from pretrain.weights.read_trunk import read_trunk
from tools import convert as tool


def run_tool(*arguments):
    return tool_process.run([sys.executable, "tools/convert.py", *arguments], cwd=ROOT)


def damaged(change, wrapped=None):
    """A writer of a plain ResNet-18 file after `change(state)`, inside `wrapped(state)` if given."""

    def write(path):
        state = torchvision_network("resnet18").state_dict()
        change(state)
        torch.save(wrapped(state) if wrapped else state, path)

    return write


def write_truncated(path):
    write_plain(path, "resnet18")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_two_layouts(path):
    state = {f"module.{name}": tensor for name, tensor in official_network("resnet18", 0).state_dict().items()}
    torch.save({"model": state, "state_dict": torchvision_network("resnet18").state_dict()}, path)


def vit(prefix):
    """The first tensors of MoCo v3's and DINO's vision transformers."""
    names = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")
    return {f"module.{prefix}.{name}": torch.zeros(1, 4) for name in names}


def other_network(state, **changed):
    return {**state, **{name.replace("__", "."): torch.zeros(shape) for name, shape in changed.items()}}


def without_statistics(state):
    for name in [name for name in state if "running" in name or "num_batches" in name]:
        del state[name]


def dino_and_more():
    state = torchvision_network("resnet18").state_dict()
    inside = {f"module.backbone.{name}": tensor for name, tensor in state.items()} | {"module.head.w": torch.zeros(1)}
    return {"student": inside, "teacher": inside, "state_dict": state}


def write_caffe2(path):
    blobs = {"conv1_w": np.zeros((64, 3, 7, 7), "f4"), "res_conv1_bn_s": np.zeros(64, "f4")}
    path.write_bytes(pickle.dumps({"blobs": blobs}))


BAD = {
    "empty dictionary": (lambda path: torch.save({}, path), r"is an empty dictionary: give a checkpoint"),
    "ViT of MoCo v3": (
        lambda path: torch.save({"arch": "vit_small", "state_dict": vit("base_encoder")}, path),
        r"is a vision transformer .*: module\.base_encoder\.cls_token",
    ),
    "ViT of DINO": (
        lambda path: torch.save({"student": vit("backbone"), "teacher": vit("backbone")}, path),
        r"is a vision transformer",
    ),
    "Caffe2": (write_caffe2, r"is Caffe2 blobs \(BGR"),
    "deep stem": (
        lambda path: torch.save({"conv1.0.weight": torch.zeros(32, 3, 3, 3)}, path),
        r"deep stem, as timm's resnet50d: conv1\.0\.weight",
    ),
    "small stem": (
        damaged(lambda state: None, lambda state: other_network(state, conv1__weight=(64, 3, 3, 3))),
        r"a stem of 3x3 pixels, as networks for CIFAR",
    ),
    "twice as wide": (
        damaged(lambda state: None, lambda state: other_network(state, conv1__weight=(128, 3, 7, 7))),
        r"wider than 64 channels .*as SwAV's resnet50w2",
    ),
    "no running statistics": (
        damaged(without_statistics),
        r"has no running statistics, .*, and lacks bn1\.running_mean, bn1\.running_var",
    ),
    "two layouts of public projects": (
        lambda path: torch.save({**dino_and_more(), "optimizer": {}}, path),
        r"more than one layout: dino \(in student backbone and teacher backbone\), torchvision \(in state_dict\)",
    ),
    "truncated": (write_truncated, r"cannot be read as a torch checkpoint"),
    "not a checkpoint": (lambda path: path.write_text("hello"), r"cannot be read as a torch checkpoint"),
    "empty": (lambda path: path.touch(), r"cannot be read as a torch checkpoint"),
    "absent": (lambda path: None, r"in\.pth is not a file"),
    "a tensor": (lambda path: torch.save(torch.zeros(3), path), r"holds a Tensor, not a dictionary"),
    "unrelated": (
        lambda path: torch.save({"blob": {"vit.cls": torch.zeros(3)}}, path),
        r"no known layout; seen were keys blob; blob: vit\.cls",
    ),
    "two layouts": (
        write_two_layouts,
        r"more than one layout: official-unigrad \(in model encoder and .*, torchvision \(in state_dict\)",
    ),
    "missing": (damaged(lambda state: state.pop("layer3.1.bn2.bias")), r"it lacks layer3\.1\.bn2\.bias\."),
    "one counter missing": (
        damaged(lambda state: state.pop("bn1.num_batches_tracked")),
        r"it lacks bn1\.num_batches_tracked\.",
    ),
    "left over": (
        damaged(lambda state: state.update({"layer1.0.se.weight": torch.zeros(1)})),
        r"holds beyond the trunk layer1\.0\.se\.weight",
    ),
    "wrong shape": (
        damaged(lambda state: state.update({"bn1.bias": torch.zeros(3)})),
        r"has the wrong shape in bn1\.bias \(3,\) instead of \(64,\)",
    ),
    "not finite": (
        damaged(lambda state: state["layer2.0.conv1.weight"].view(-1)[5:6].fill_(float("nan"))),
        r"not finite in layer2\.0\.conv1\.weight",
    ),
    "other architecture": (
        damaged(lambda state: None, lambda state: {"arch": "resnet50", "state_dict": state}),
        r"says it is a resnet50, but its tensors are those of a resnet18",
    ),
    "no known depth": (
        damaged(lambda state: [state.pop(name) for name in list(state) if name.startswith("layer4.1.")]),
        r"\[2, 2, 2, 1\] basic blocks",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_in_one_sentence(tmp_path, kind):
    write, message = BAD[kind]
    write(tmp_path / "in.pth")
    with pytest.raises(UserError, match=message) as caught:
        read_trunk(tmp_path / "in.pth")
    assert "\n" not in str(caught.value)


def test_two_trunks_that_one_layout_could_mean_are_refused(tmp_path):
    """solo-learn calls its trunk `backbone` or, earlier, `encoder`: a file with both was put together by hand."""
    state = torchvision_network("resnet18").state_dict()
    both = {f"{part}.{name}": tensor for part in ("backbone", "encoder") for name, tensor in state.items()}
    torch.save({"state_dict": {**both, "classifier.weight": torch.zeros(3, 512)}}, tmp_path / "in.pth")
    message = r"more than one layout: solo-learn \(in state_dict backbone\), solo-learn \(in state_dict encoder\)"
    with pytest.raises(UserError, match=message):
        read_trunk(tmp_path / "in.pth")


def test_a_name_with_and_without_wrapper_hides_nothing(tmp_path):
    state = torchvision_network("resnet18").state_dict()
    torch.save({**state, "module.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "in.pth")
    with pytest.raises(UserError, match=r"holds beyond the trunk module\.conv1\.weight"):
        read_trunk(tmp_path / "in.pth")


@pytest.mark.parametrize(("key", "prefix"), [("state_dict", "net.body."), ("weights", ""), ("ema", "0.")])
def test_an_unknown_layout_is_read_only_where_the_user_says_it_lies(tmp_path, key, prefix):
    state = torchvision_network("resnet18").state_dict()
    torch.save({key: {f"{prefix}{name}": tensor for name, tensor in state.items()}}, tmp_path / "in.pth")
    told = re.escape(prefix or '""')
    with pytest.raises(UserError, match=rf"no known layout; .*its trunk is below {told}, add --prefix {told}"):
        read_trunk(tmp_path / "in.pth")
    found = read_trunk(tmp_path / "in.pth", prefix=prefix)
    assert found.layout == f"below {prefix or 'no prefix'}"
    assert torch.equal(found.state["conv1.weight"], state["conv1.weight"])
    with pytest.raises(UserError, match=rf"no known layout; .*add --prefix {told}"):
        read_trunk(tmp_path / "in.pth", prefix="body.")


def test_another_architecture_than_the_expected_one_is_refused(tmp_path):
    write_plain(tmp_path / "in.pth", "resnet50")
    with pytest.raises(UserError, match=r"is a resnet50, not the resnet101 that was asked for"):
        read_trunk(tmp_path / "in.pth", arch="resnet101")


def test_a_command_line_without_destination_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        tool.main([str(tmp_path / "in.pth")])
    assert caught.value.code == 2 and "OUT and --to are needed, or --inspect" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["truncated", "unrelated", "other architecture"])
def test_the_tool_ends_with_code_2_and_touches_nothing(tmp_path, kind):
    write, _ = BAD[kind]
    write(tmp_path / "in.pth")
    (tmp_path / "out.pth").write_text("what the user had")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run_tool(tmp_path / "in.pth", tmp_path / "out.pth", "--to", "torchvision")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert (tmp_path / "out.pth").read_text() == "what the user had"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("out", "to", "message"),
    [
        ("out.safetensors", "detectron2", r"a file for detectron2 ends in \.pkl or \.pth"),
        ("out.pkl", "torchvision", r"a file for torchvision ends in \.pth or \.pt"),
        ("out.pth", "safetensors", r"a file for safetensors ends in \.safetensors"),
        ("in.pth", "torchvision", "the input itself"),
        ("folder", "torchvision", "a folder"),
    ],
)
def test_an_output_that_cannot_work_is_refused_first(tmp_path, out, to, message):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=message):
        tool.main([str(tmp_path / "in.pth"), str(tmp_path / out), "--to", to])


def test_without_detectron2_the_tool_names_the_command_that_installs_it(tmp_path):
    """A real process in which Python finds no detectron2, although this environment may have one."""
    write_plain(tmp_path / "in.pth", "resnet18")
    arguments = [str(tmp_path / "in.pth"), str(tmp_path / "out.pkl"), "--to", "detectron2"]
    hide = (
        "import sys, importlib.machinery as m\n"
        "finder = m.PathFinder.find_spec\n"
        "m.PathFinder.find_spec = lambda name, *rest: None if name == 'detectron2' else finder(name, *rest)\n"
        f"sys.path[0] = {str(ROOT)!r}\n"
        "from pretrain.runtime.errors import run_tool\nfrom tools.convert import main\n"
        f"run_tool(lambda: main({json.dumps(arguments)}))\n"
    )
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True)
    assert done.returncode == 2 and "python tools/install_detectron2.py" in done.stderr, done.stderr
    assert not (tmp_path / "out.pkl").exists()
