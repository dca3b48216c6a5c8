"""Conversion: every known layout gives the same trunk, and detectron2 computes the same features from it."""

import pickle

import pytest
import torch
import torchvision
from torch import nn

from helpers.checkpoint_files import (
    LAYOUTS,
    assert_same_tensors,
    torchvision_network,
    training_checkpoint,
    without_fc,
    write_checkpoint,
    write_export,
    write_official,
    write_plain,
)
from pretrain.models import TRUNKS
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from pretrain.weights.names import detectron2_name, from_detectron2_name
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import build_trunk
from tools import convert as tool
from transfer.convert.verify import stages, write_verified
from transfer.convert.write import from_detectron2, save_detectron2, to_detectron2

pytestmark = pytest.mark.slow

STAGES = ("res2", "res3", "res4", "res5")


EVERY_LAYOUT = [(layout, arch) for layout in LAYOUTS for arch in ("resnet18", "resnet50")]


@pytest.mark.parametrize(("layout", "arch"), [*EVERY_LAYOUT, ("plain", "resnet34"), ("plain", "resnet101")])
def test_every_layout_gives_the_trunk_bit_for_bit(tmp_path, layout, arch):
    write, name = LAYOUTS[layout]
    expected = write(tmp_path / "in.pth", arch)
    found = read_trunk(tmp_path / "in.pth")
    assert (found.arch, found.layout) == (arch, name)
    assert_same_tensors(found.state, expected)
    assert_same_tensors(build_trunk(found).state_dict(), expected)


def test_the_target_branch_is_read_on_request(tmp_path):
    content, siamese = training_checkpoint("resnet18")
    torch.save(content, tmp_path / "ours.pth")
    assert_same_tensors(read_trunk(tmp_path / "ours.pth", "target").state, siamese.target.trunk.state_dict())
    write_official(tmp_path / "official.pth", "resnet18")
    expected = without_fc(torchvision_network("resnet18", 1).state_dict())
    assert_same_tensors(read_trunk(tmp_path / "official.pth", "target").state, expected)
    write_export(tmp_path / "export.pth", "resnet18")
    with pytest.raises(UserError, match="single trunk"):
        read_trunk(tmp_path / "export.pth", "target")


def test_what_a_file_says_of_its_training_is_kept(tmp_path):
    write_export(tmp_path / "export.pth", "resnet18")
    assert read_trunk(tmp_path / "export.pth").meta.items() >= {"method": "unigrad", "step": 7, "seed": 1}.items()
    write_checkpoint(tmp_path / "checkpoint.pth", "resnet18")
    meta = read_trunk(tmp_path / "checkpoint.pth").meta
    assert meta == {"step": 7, "method": "unigrad", "seed": 5, "images_seen": 224, "branch": "online"}


def test_files_without_counters_are_read_as_torch_reads_them(tmp_path):
    state = torchvision_network("resnet18").state_dict()
    torch.save({name: tensor for name, tensor in state.items() if "num_batches" not in name}, tmp_path / "old.pth")
    found = read_trunk(tmp_path / "old.pth").state
    assert all(torch.equal(found[name], state[name]) for name in found if "num_batches" not in name)
    assert all(found[name].item() == 0 for name in found if "num_batches" in name)


def test_half_precision_becomes_float32_exactly(tmp_path):
    state = torchvision_network("resnet18").half().state_dict()
    torch.save(state, tmp_path / "half.pth")
    found = read_trunk(tmp_path / "half.pth").state
    assert found["conv1.weight"].dtype == torch.float32
    assert torch.equal(found["conv1.weight"].half(), state["conv1.weight"])


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_renaming_for_detectron2_round_trips_bit_for_bit(arch):
    state = without_fc(torchvision_network(arch).state_dict())
    assert_same_tensors(from_detectron2(to_detectron2(state, arch), arch), state)


@pytest.mark.parametrize(
    ("torchvision_name", "name"),
    [
        ("conv1.weight", "stem.conv1.weight"),
        ("bn1.running_var", "stem.conv1.norm.running_var"),
        ("layer1.0.downsample.0.weight", "res2.0.shortcut.weight"),
        ("layer1.0.downsample.1.bias", "res2.0.shortcut.norm.bias"),
        ("layer3.22.conv3.weight", "res4.22.conv3.weight"),
        ("layer4.2.bn2.num_batches_tracked", "res5.2.conv2.norm.num_batches_tracked"),
    ],
)
def test_names_are_those_of_detectron2s_own_converter(torchvision_name, name):
    """Expected names: tools/convert-torchvision-to-d2.py of detectron2."""
    assert detectron2_name(torchvision_name) == name


@pytest.mark.parametrize("arch", TRUNKS)
def test_every_architecture_is_told_by_its_shapes_and_has_detectron2s_and_timms_names(arch):
    """Without memory: the libraries' own networks are the oracle for names and shapes."""
    import timm

    from pretrain.weights.trunk import infer_arch, shapes_of
    from transfer.detection.modeling.verify import build_resnet

    with torch.device("meta"):
        state = without_fc(torchvision.models.get_model(arch, weights=None).state_dict())
        peer = timm.create_model(arch, num_classes=0).state_dict()
        detector = build_resnet(arch).state_dict()
    assert infer_arch("a file", state) == arch
    assert {name: tensor.shape for name, tensor in peer.items()} == shapes_of(arch)
    named = {detectron2_name(name): shape for name, shape in shapes_of(arch).items()}
    assert {name: tensor.shape for name, tensor in detector.items()} == named
    assert all(from_detectron2_name(detectron2_name(name)) == name for name in shapes_of(arch))


def read_pickle(path):
    return pickle.loads(path.read_bytes())


@pytest.mark.parametrize(
    ("layout", "arch"),
    [("checkpoint", "resnet18"), ("export", "resnet50"), ("official", "resnet50"), ("plain", "resnet18")],
)
def test_detectron2_computes_the_same_features_from_the_written_file(tmp_path, capsys, layout, arch):
    """The oracle is torchvision's forward, here in float32; the tool's own check is in float64."""
    from detectron2.checkpoint import DetectionCheckpointer

    from transfer.detection.modeling.verify import build_resnet

    expected = LAYOUTS[layout][0](tmp_path / "in.pth", arch)
    tool.main([str(tmp_path / "in.pth"), str(tmp_path / "out.pkl"), "--to", "detectron2"])
    printed = capsys.readouterr().out
    assert all(f"{stage}: largest difference" in printed for stage in STAGES)
    reference = torchvision.models.get_model(arch, weights=None)
    reference.fc = nn.Identity()
    reference.load_state_dict(expected)
    reference.eval()
    network = build_resnet(arch)
    DetectionCheckpointer(network, save_to_disk=False).load(str(tmp_path / "out.pkl"))
    outputs = {}
    for number, stage in enumerate(STAGES, 1):
        layer = getattr(reference, f"layer{number}")
        layer.register_forward_hook(lambda _, __, output, stage=stage: outputs.update({stage: output}))
    image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        reference(image)
        found = network(image)
    for stage in STAGES:
        assert (found[stage] - outputs[stage]).abs().max() <= 1e-4 * max(1, outputs[stage].abs().max())


def test_converted_files_say_where_they_come_from(tmp_path):
    write_export(tmp_path / "in.pth", "resnet18")
    for out, to in (("out.pkl", "detectron2"), ("out.pth", "torchvision")):
        tool.main([str(tmp_path / "in.pth"), str(tmp_path / out), "--to", to])
    for content in (read_pickle(tmp_path / "out.pkl"), torch.load(tmp_path / "out.pth", weights_only=True)):
        origin = content["provenance"]
        assert origin["sha256"] == sha256_of(tmp_path / "in.pth")
        assert (origin["layout"], origin["arch"], origin["meta"]["step"]) == ("unigrad-export", "resnet18", 7)


@pytest.mark.parametrize("layout", ["checkpoint", "official"])
def test_torchvision_itself_loads_what_is_written_for_it(tmp_path, layout):
    expected = LAYOUTS[layout][0](tmp_path / "in.pth", "resnet18")
    tool.main([str(tmp_path / "in.pth"), str(tmp_path / "out.pth"), "--to", "torchvision"])
    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Identity()
    network.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"], strict=True)
    assert_same_tensors(network.state_dict(), expected)
    assert_same_tensors(read_trunk(tmp_path / "out.pth").state, expected)


def test_a_trunk_that_computes_something_else_is_not_written(tmp_path):
    """detectron2's default stride is in the 1x1 convolution: the same tensors then mean another network."""
    write_plain(tmp_path / "in.pth", "resnet50")
    (tmp_path / "out.pkl").write_text("what the user had")
    found = read_trunk(tmp_path / "in.pth")

    def stride_elsewhere(path, trunk_file, image):
        network = build_trunk(trunk_file).to(image.dtype)
        for block in (network.layer2[0], network.layer3[0], network.layer4[0]):
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
        return stages(network, image)

    with pytest.raises(UserError, match="differs from its source .* in res3"):
        write_verified(tmp_path / "out.pkl", found, lambda path: save_detectron2(path, found, {}), stride_elsewhere)
    assert (tmp_path / "out.pkl").read_text() == "what the user had"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pth", "out.pkl"]
