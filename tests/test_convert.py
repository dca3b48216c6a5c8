"""Conversion: every known layout gives the same trunk, detectron2 computes the same features, bad input is refused."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from pretrain.checkpoint import export_trunk
from pretrain.errors import UserError
from pretrain.files import sha256_of
from pretrain.model import Siamese
from tools import convert as tool
from transfer import convert

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("res2", "res3", "res4", "res5")


def uneven(network, seed):
    """Give every BN statistics and affine numbers that are not those of a new network; every counter its own value."""
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in network.modules() if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d))]
    for count, norm in enumerate(norms):
        for tensor in (norm.running_mean, norm.bias.data):
            tensor.normal_(0, 0.3, generator=generator)
        for tensor in (norm.running_var, norm.weight.data):
            tensor.uniform_(0.5, 1.5, generator=generator)
        norm.num_batches_tracked.fill_(100 + count)
    return network


def torchvision_network(arch, seed=0):
    torch.manual_seed(seed)
    return uneven(torchvision.models.get_model(arch, weights=None), seed).eval()


def official_network(arch, seed):
    """The official code's structure: nn.Sequential over torchvision's children, a momentum copy, projectors, DDP."""
    network = nn.Module()
    for name, own_seed in (("encoder", seed), ("momentum_encoder", seed + 1)):
        children = list(torchvision_network(arch, own_seed).children())[:-1]
        setattr(network, name, nn.Sequential(*children, nn.Flatten(1)))
    network.projector, network.momentum_projector = nn.Linear(8, 8), nn.Linear(8, 8)
    return network


def without_fc(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def write_plain(path, arch):
    state = torchvision_network(arch).state_dict()
    torch.save(state, path)
    return without_fc(state)


def write_plain_without_fc(path, arch):
    state = without_fc(torchvision_network(arch).state_dict())
    torch.save(state, path)
    return state


def write_wrapped(path, arch):
    state = torchvision_network(arch).state_dict()
    torch.save({"state_dict": state, "arch": arch, "epoch": 3, "optimizer": {"state": {}}}, path)
    return without_fc(state)


def write_export(path, arch):
    network = torchvision_network(arch)
    network.fc = nn.Identity()
    export_trunk(path, network, arch, {"method": "unigrad", "step": 7, "seed": 1})
    return network.state_dict()


def training_checkpoint(arch):
    torch.manual_seed(0)
    siamese = uneven(Siamese(arch, True, 2, 16), 0)
    config = {"model": {"arch": arch}, "method": {"name": "unigrad"}, "run": {"seed": 5}, "optim": {"batch_size": 32}}
    return {"format": "unigrad-checkpoint", "step": 7, "config": config, "model": siamese.state_dict()}, siamese


def write_checkpoint(path, arch):
    content, siamese = training_checkpoint(arch)
    torch.save(content, path)
    return siamese.online.trunk.state_dict()


def write_official(path, arch):
    network = official_network(arch, 0)
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"model": state, "optimizer": {}, "scaler": {}, "step": 9, "epoch": 1, "F": torch.eye(8)}, path)
    return without_fc(torchvision_network(arch, 0).state_dict())


LAYOUTS = {
    "plain": (write_plain, "torchvision"),
    "plain without fc": (write_plain_without_fc, "torchvision"),
    "wrapped": (write_wrapped, "torchvision"),
    "export": (write_export, "unigrad-export"),
    "checkpoint": (write_checkpoint, "unigrad-checkpoint"),
    "official": (write_official, "official-unigrad"),
}


def assert_same_tensors(actual, expected):
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype and torch.equal(actual[name], tensor), name


EVERY_LAYOUT = [(layout, arch) for layout in LAYOUTS for arch in ("resnet18", "resnet50")]


@pytest.mark.parametrize(("layout", "arch"), [*EVERY_LAYOUT, ("plain", "resnet34"), ("plain", "resnet101")])
def test_every_layout_gives_the_trunk_bit_for_bit(tmp_path, layout, arch):
    write, name = LAYOUTS[layout]
    expected = write(tmp_path / "in.pth", arch)
    found = convert.read_trunk(tmp_path / "in.pth")
    assert (found.arch, found.layout) == (arch, name)
    assert_same_tensors(found.state, expected)
    assert_same_tensors(convert.build_trunk(found).state_dict(), expected)


def test_the_target_branch_is_read_on_request(tmp_path):
    content, siamese = training_checkpoint("resnet18")
    torch.save(content, tmp_path / "ours.pth")
    assert_same_tensors(convert.read_trunk(tmp_path / "ours.pth", "target").state, siamese.target.trunk.state_dict())
    write_official(tmp_path / "official.pth", "resnet18")
    expected = without_fc(torchvision_network("resnet18", 1).state_dict())
    assert_same_tensors(convert.read_trunk(tmp_path / "official.pth", "target").state, expected)
    write_export(tmp_path / "export.pth", "resnet18")
    with pytest.raises(UserError, match="single trunk"):
        convert.read_trunk(tmp_path / "export.pth", "target")


def test_what_a_file_says_of_its_training_is_kept(tmp_path):
    write_export(tmp_path / "export.pth", "resnet18")
    assert (
        convert.read_trunk(tmp_path / "export.pth").meta.items() >= {"method": "unigrad", "step": 7, "seed": 1}.items()
    )
    write_checkpoint(tmp_path / "checkpoint.pth", "resnet18")
    meta = convert.read_trunk(tmp_path / "checkpoint.pth").meta
    assert meta == {"step": 7, "method": "unigrad", "seed": 5, "images_seen": 224, "branch": "online"}


def test_files_without_counters_are_read_as_torch_reads_them(tmp_path):
    state = torchvision_network("resnet18").state_dict()
    torch.save({name: tensor for name, tensor in state.items() if "num_batches" not in name}, tmp_path / "old.pth")
    found = convert.read_trunk(tmp_path / "old.pth").state
    assert all(torch.equal(found[name], state[name]) for name in found if "num_batches" not in name)
    assert all(found[name].item() == 0 for name in found if "num_batches" in name)


def test_half_precision_becomes_float32_exactly(tmp_path):
    state = torchvision_network("resnet18").half().state_dict()
    torch.save(state, tmp_path / "half.pth")
    found = convert.read_trunk(tmp_path / "half.pth").state
    assert found["conv1.weight"].dtype == torch.float32
    assert torch.equal(found["conv1.weight"].half(), state["conv1.weight"])


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_renaming_for_detectron2_round_trips_bit_for_bit(arch):
    state = without_fc(torchvision_network(arch).state_dict())
    assert_same_tensors(convert.from_detectron2(convert.to_detectron2(state, arch), arch), state)


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
    assert convert.detectron2_name(torchvision_name) == name


def run_tool(*arguments):
    return subprocess.run(
        [sys.executable, "tools/convert.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )


def read_pickle(path):
    return pickle.loads(Path(path).read_bytes())


@pytest.mark.parametrize(
    ("layout", "arch"),
    [("checkpoint", "resnet18"), ("export", "resnet50"), ("official", "resnet50"), ("plain", "resnet18")],
)
def test_detectron2_computes_the_same_features_from_the_written_file(tmp_path, capsys, layout, arch):
    """The oracle is torchvision's forward, here in float32; the tool's own check is in float64."""
    from detectron2.checkpoint import DetectionCheckpointer

    from transfer.detection.verify import build_resnet

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
    assert_same_tensors(convert.read_trunk(tmp_path / "out.pth").state, expected)


def test_a_trunk_that_computes_something_else_is_not_written(tmp_path):
    """detectron2's default stride is in the 1x1 convolution: the same tensors then mean another network."""
    write_plain(tmp_path / "in.pth", "resnet50")
    (tmp_path / "out.pkl").write_text("what the user had")
    found = convert.read_trunk(tmp_path / "in.pth")

    def stride_elsewhere(path, trunk_file, image):
        network = convert.build_trunk(trunk_file).to(image.dtype)
        for block in (network.layer2[0], network.layer3[0], network.layer4[0]):
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
        return convert.stages(network, image)

    with pytest.raises(UserError, match="differs from its source .* in res3"):
        convert.write_verified(
            tmp_path / "out.pkl", found, lambda path: convert.save_detectron2(path, found, {}), stride_elsewhere
        )
    assert (tmp_path / "out.pkl").read_text() == "what the user had"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pth", "out.pkl"]


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


BAD = {
    "truncated": (write_truncated, r"cannot be read as a torch checkpoint"),
    "not a checkpoint": (lambda path: path.write_text("hello"), r"cannot be read as a torch checkpoint"),
    "empty": (lambda path: path.touch(), r"cannot be read as a torch checkpoint"),
    "absent": (lambda path: None, r"in\.pth is not a file"),
    "a tensor": (lambda path: torch.save(torch.zeros(3), path), r"holds a Tensor, not a dictionary"),
    "unrelated": (
        lambda path: torch.save({"blob": {"vit.cls": torch.zeros(3)}}, path),
        r"no known layout; seen were keys blob; blob: vit\.cls",
    ),
    "two layouts": (write_two_layouts, r"more than one layout: official-unigrad, torchvision"),
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
        convert.read_trunk(tmp_path / "in.pth")
    assert "\n" not in str(caught.value)


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
        ("out.pth", "detectron2", "use .pkl"),
        ("out.pkl", "torchvision", "use .pkl"),
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
        "from pretrain.errors import run_tool\nfrom tools.convert import main\n"
        f"run_tool(lambda: main({json.dumps(arguments)}))\n"
    )
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True)
    assert done.returncode == 2 and "python tools/install_detectron2.py" in done.stderr, done.stderr
    assert not (tmp_path / "out.pkl").exists()
