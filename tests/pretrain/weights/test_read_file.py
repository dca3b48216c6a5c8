"""Reading files that strangers wrote: every format is read, and no code that a file names is run."""

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.checkpoint_files import assert_same_tensors, torchvision_network, without_fc
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from pretrain.weights.read_trunk import read_trunk
from tools import convert as tool

RAN = []


class Stranger:
    """A class that nobody asked for, as a training script may save beside its tensors."""

    def __init__(self):
        self.note = "hello"

    def __setstate__(self, state):
        RAN.append(state)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-here",)


@pytest.fixture(scope="module")
def state():
    return torchvision_network("resnet18").state_dict()


def read(path, **options):
    return read_trunk(path, **options).state


def test_the_format_before_torch_1_6_is_read(tmp_path, state):
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1.0)}, tmp_path / "old.pth.tar", **LEGACY)
    assert_same_tensors(read(tmp_path / "old.pth.tar"), without_fc(state))


LEGACY = {"_use_new_zipfile_serialization": False}


def test_safetensors_are_read(tmp_path, state):
    from safetensors.torch import save_file

    save_file(state, tmp_path / "model.safetensors")
    assert_same_tensors(read(tmp_path / "model.safetensors"), without_fc(state))


@pytest.mark.parametrize(
    "extra",
    [
        argparse.Namespace(lr=0.1, nested=argparse.Namespace(path=Path("x"))),
        np.float64(3.5),
        {"best": np.int64(4), "history": np.arange(3.0)},
        Path("runs/x"),
    ],
)
def test_harmless_objects_of_training_scripts_are_passed_over(tmp_path, state, extra):
    torch.save({"state_dict": state, "args": extra}, tmp_path / "in.pth")
    assert_same_tensors(read(tmp_path / "in.pth"), without_fc(state))


def test_a_configuration_of_omegaconf_is_passed_over(tmp_path, state):
    from omegaconf import OmegaConf

    config = OmegaConf.create({"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}})
    torch.save({"state_dict": state, "hyper_parameters": config}, tmp_path / "in.ckpt")
    assert_same_tensors(read(tmp_path / "in.ckpt"), without_fc(state))


def pickled_module(path, state):
    torch.save(torchvision_network("resnet18"), path)


def with_stranger(path, state, **options):
    torch.save({"state_dict": state, "extra": Stranger()}, path, **options)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (with_stranger, r"test_read_file\.Stranger"),
        (lambda path, state: with_stranger(path, state, **LEGACY), r"test_read_file\.Stranger"),
        (pickled_module, r"torchvision\.models\.resnet"),
    ],
)
def test_other_objects_need_the_files_own_hash_typed(tmp_path, state, write, named, capsys):
    path = tmp_path / "in.pth"
    write(path, state)
    RAN.clear()
    with pytest.raises(UserError, match=rf"{named}.*runs code.*stranger.*`--allow-pickle {sha256_of(path)}`\.$"):
        read(path)
    assert RAN == []
    with pytest.raises(UserError, match="--allow-pickle names another file"):
        read(path, allow_pickle="0" * 64)
    out = tmp_path / "out.pth"
    tool.main([str(path), str(out), "--to", "torchvision", "--allow-pickle", sha256_of(path)])
    assert_same_tensors(read(out), without_fc(state))


@pytest.mark.parametrize("name", ["in.pth", "in.pkl"])
def test_a_hostile_file_is_refused_without_a_way_round(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {}, "extra": Hostile()}
    torch.save(content, name) if name == "in.pth" else Path(name).write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"(posix|nt)\.system") as caught:
        read(Path(name))
    assert "--allow-pickle" not in str(caught.value)
    assert not Path("hostile-was-here").exists()


def test_the_refusal_of_a_module_reads_like_any_other(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "in.pth")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear") as caught:
        read(tmp_path / "in.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["in.pth", "in.pkl", "in.safetensors"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_a_truncated_file_of_any_format_is_told_of(tmp_path, state, name, part):
    from safetensors.torch import save_file

    small = OrderedDict((key, tensor) for key, tensor in state.items() if not key.startswith("layer4"))
    if name == "in.pth":
        torch.save(small, tmp_path / name)
    elif name == "in.pkl":
        (tmp_path / name).write_bytes(pickle.dumps({"model": {key: one.numpy() for key, one in small.items()}}))
    else:
        save_file(small, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(UserError, match="truncated, damaged, or of another program"):
        read(tmp_path / name)
