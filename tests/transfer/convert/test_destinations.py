"""The registry of destinations: what is listed where, and that a file which is dropped in appears everywhere."""

import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from helpers import tool_process
from helpers.checkpoint_files import torchvision_network, write_plain
from helpers.repository import ROOT
from helpers.small_checkpoints import content_of, write_zip
from pretrain.runtime.errors import UserError
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import TrunkFile, shapes_of
from tools import convert, publish
from transfer.convert.destinations import DESTINATIONS, destinations_table
from transfer.convert.write import provenance_of, save_safetensors
from transfer.detection.modeling.verify import build_resnet

NEW = """
from transfer.convert.destinations import torchvision
from transfer.convert.destinations.base import Destination

DESTINATION = Destination("made_up", "a library of nobody", (".made",), torchvision.write, torchvision.verifier)
"""


def test_the_page_lists_every_destination():
    page = (ROOT / "docs" / "conversion.md").read_text(encoding="utf-8")
    assert destinations_table() in page, f"put this table into docs/conversion.md:\n{destinations_table()}"


def test_help_lists_every_destination_without_loading_torch():
    code = (
        "import sys; sys.argv = ['convert.py', '--help']\n"
        "from tools.convert import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    shown = " ".join(done.stdout.split())
    assert shown.endswith("False"), done.stderr
    for name, destination in DESTINATIONS.items():
        assert f"{name} ({', '.join(destination.endings)}): {destination.help}" in shown


def test_a_file_that_is_dropped_in_can_be_written_for(tmp_path):
    for name in ("pretrain", "transfer", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "transfer/convert/destinations/made_up.py").write_text(NEW)
    write_plain(tmp_path / "in.pth", "resnet18")

    def convert(*options):
        done = tool_process.run([sys.executable, tmp_path / "tools/convert.py", *options], {}, tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "made_up (.made): a library of nobody" in convert("--help")
    assert "checked in torchvision" in convert("in.pth", "out.made", "--to", "made_up")
    written = torch.load(tmp_path / "out.made", weights_only=True)["state_dict"]
    expected = torchvision_network("resnet18").state_dict()
    assert len(written) == 120 and all(torch.equal(tensor, expected[name]) for name, tensor in written.items())


@pytest.mark.parametrize(("name", "ending"), [(name, one) for name, to in DESTINATIONS.items() for one in to.endings])
def test_a_converted_file_carries_a_checksum_that_finds_one_damaged_number(tmp_path, name, ending):
    """Also where the format has none itself, as pickles and safetensors."""
    write_zip(tmp_path / "in.pth", content_of("pytorch tutorial"))
    trunk = read_trunk(tmp_path / "in.pth")
    out = tmp_path / f"out{ending}"
    DESTINATIONS[name].write(out, trunk, provenance_of(tmp_path / "in.pth", trunk))
    assert read_trunk(out).state.keys() == trunk.state.keys()
    data = bytearray(out.read_bytes())
    data[data.index(trunk.state["layer3.0.conv1.weight"].numpy().tobytes()) + 1001] ^= 1
    out.write_bytes(bytes(data))
    with pytest.raises(
        UserError, match="CRC" if ending in (".pth", ".pt") else r"SHA-256 of layer3\.0\.conv1\.weight is not"
    ):
        read_trunk(out)


def test_the_same_trunk_is_the_same_safetensors_file_which_its_own_library_reads(tmp_path):
    """That library writes metadata in a random order, and a hub would take each for other weights."""
    from safetensors import safe_open

    write_zip(tmp_path / "in.pth", content_of("pytorch tutorial"))
    trunk = read_trunk(tmp_path / "in.pth")
    origin = provenance_of(tmp_path / "in.pth", trunk)
    written = [save_safetensors(tmp_path / f"{number}.safetensors", trunk, origin).read_bytes() for number in range(6)]
    assert len(set(written)) == 1
    with safe_open(tmp_path / "0.safetensors", framework="pt") as opened:
        assert set(opened.metadata()) == {"format", "arch", "provenance"} and opened.metadata()["format"] == "pt"
        assert set(opened.keys()) == set(trunk.state)
        assert all(torch.equal(opened.get_tensor(name), tensor) for name, tensor in trunk.state.items())


def test_a_tensor_that_was_changed_and_saved_again_is_named_also_in_files_of_earlier_code(tmp_path):
    write_zip(tmp_path / "in.pth", content_of("pytorch tutorial"))
    trunk = read_trunk(tmp_path / "in.pth")
    DESTINATIONS["torchvision"].write(tmp_path / "out.pth", trunk, provenance_of(tmp_path / "in.pth", trunk))
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    content["state_dict"]["bn1.bias"][3] += 1
    torch.save(content, tmp_path / "out.pth")
    with pytest.raises(UserError, match=r"the SHA-256 of bn1\.bias is not the one"):
        read_trunk(tmp_path / "out.pth")
    del content["provenance"]["digests"]  # earlier code wrote one SHA-256 of all tensors
    torch.save(content, tmp_path / "out.pth")
    with pytest.raises(UserError, match="their SHA-256 is not the one"):
        read_trunk(tmp_path / "out.pth")


@pytest.mark.parametrize("name", DESTINATIONS)
def test_every_destination_names_tensors_as_its_library_does(name):
    """The oracle is the library's own network: detectron2's or transformers', torchvision's for the others."""
    with torch.device("meta"):
        network = OWN.get(name, torchvision_shapes)()
    renamed = {DESTINATIONS[name].rename(key) for key in shapes_of("resnet18")}
    assert renamed == {key for key in network.state_dict() if not key.startswith("fc.")}


def torchvision_shapes():
    import torchvision

    return torchvision.models.resnet18(weights=None)


def transformers_shapes():
    transformers = pytest.importorskip("transformers")
    basic = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"}
    return transformers.ResNetModel(transformers.ResNetConfig(**basic))


OWN = {"detectron2": lambda: build_resnet("resnet18"), "transformers": transformers_shapes}


@pytest.mark.slow
def test_a_published_trunk_computes_the_same_in_transformers_own_network(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    write_plain(tmp_path / "in.pth", "resnet18")
    publish.main([str(tmp_path / "in.pth"), "--to", str(tmp_path / "folder")])
    given, out = tmp_path / "folder" / "model.safetensors", tmp_path / "out.safetensors"
    convert.main([str(given), str(out), "--to", "transformers"])
    assert "checked in transformers:" in capsys.readouterr().out
    own = transformers_shapes().double().eval()
    own.load_state_dict(load_file(out))
    own.save_pretrained(tmp_path / "own")
    again = transformers.AutoModel.from_pretrained(tmp_path / "own", dtype=torch.float64).eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torchvision_network("resnet18").double().eval()
    expected.fc = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(again(images).pooler_output.flatten(1), expected(images), rtol=0, atol=1e-5)


def test_networks_that_transformers_lacks_are_refused(tmp_path):
    trunk = TrunkFile({}, "resnext50_32x4d", "", {})
    with pytest.raises(UserError, match="is a resnext50_32x4d, and transformers has resnet18, .*: convert it with"):
        DESTINATIONS["transformers"].require(trunk, "x.pth")
