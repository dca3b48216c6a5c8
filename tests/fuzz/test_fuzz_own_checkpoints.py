"""A run's own checkpoints and exports, damaged: what a resumed run and `load_trunk` read is whole, or one sentence."""

import torch
import torchvision
from hypothesis import strategies as st
from torch import nn

import pretrain
from helpers.damaged import damaged_bytes
from helpers.fuzzing import outcome, search
from helpers.tiny_runs import assert_same
from pretrain.engine import checkpoint
from pretrain.engine.checkpoint import export_trunk
from pretrain.runtime.errors import UserError
from pretrain.weights import formats

PARTS = {"model": {"a": torch.arange(300.0), "b": torch.ones(2, dtype=torch.int64)}, "optimizer": {"state": {0: {}}}}
CONTENT = {"format": formats.CHECKPOINT, "step": 3, "config": {"optim": {"epochs": 2}}, **PARTS}


def test_a_damaged_checkpoint_of_a_run_is_whole_or_one_sentence(tmp_path):
    path, files = tmp_path / "step_00000003.pth", []
    for zipped in (True, False):
        torch.save(CONTENT, path, _use_new_zipfile_serialization=zipped)
        files.append(path.read_bytes())

    def check(content):
        path.write_bytes(content)
        found = outcome(lambda: checkpoint.read(path), tmp_path)
        if not isinstance(found, UserError) and content[:2] == b"PK":  # older files have no checksums
            assert_same(found, CONTENT)

    search(check, 120, content=st.one_of(*[damaged_bytes(one) for one in files]))


def test_a_damaged_export_is_the_trunk_or_one_sentence(tmp_path):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Identity()
    state = network.state_dict()
    for name, tensor in state.items():  # views of few numbers keep their shapes in a small file
        state[name] = torch.full((1,), 0.5).expand(tensor.shape) if tensor.is_floating_point() else tensor
    export_trunk(tmp_path / "trunk.pth", network, "resnet18", {"step": 3})
    content = torch.load(tmp_path / "trunk.pth", weights_only=True) | {"state_dict": state}
    content["digests"] = checkpoint.digests_of(state)
    files = []
    for zipped in (True, False):
        torch.save(content, tmp_path / "in.pth", _use_new_zipfile_serialization=zipped)
        files.append((tmp_path / "in.pth").read_bytes())

    def check(damaged):
        (tmp_path / "in.pth").write_bytes(damaged)
        found = outcome(lambda: pretrain.load_trunk(tmp_path / "in.pth"), tmp_path)
        if not isinstance(found, UserError) and damaged[:2] == b"PK":
            assert_same(dict(found.state_dict()), {name: tensor.contiguous() for name, tensor in state.items()})

    search(check, 25, damaged=st.one_of(*[damaged_bytes(one) for one in files]))
