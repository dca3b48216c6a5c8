"""The registry of destinations: what is listed where, and that a file which is dropped in appears everywhere."""

import shutil
import subprocess
import sys

import pytest
import torch

from helpers.checkpoint_files import torchvision_network, write_plain
from helpers.repository import ROOT
from transfer.convert.destinations import DESTINATIONS, destinations_table
from transfer.convert.trunk import shapes_of
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
        command = [sys.executable, "tools/convert.py", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={})
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "made_up (.made): a library of nobody" in convert("--help")
    assert "checked in torchvision" in convert("in.pth", "out.made", "--to", "made_up")
    written = torch.load(tmp_path / "out.made", weights_only=True)["state_dict"]
    expected = torchvision_network("resnet18").state_dict()
    assert len(written) == 120 and all(torch.equal(tensor, expected[name]) for name, tensor in written.items())


@pytest.mark.parametrize("name", DESTINATIONS)
def test_every_destination_names_tensors_as_its_library_does(name):
    """The oracle is the library's own network: detectron2's for its names, torchvision's for the others."""
    with torch.device("meta"):
        network = build_resnet("resnet18") if name == "detectron2" else torchvision_shapes()
    renamed = {DESTINATIONS[name].rename(key) for key in shapes_of("resnet18")}
    assert renamed == {key for key in network.state_dict() if not key.startswith("fc.")}


def torchvision_shapes():
    import torchvision

    return torchvision.models.resnet18(weights=None)
