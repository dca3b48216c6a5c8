"""Files that a run reads again are whole: a damaged byte anywhere in a checkpoint is found before it is used."""

import pytest
import torch

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import load_torch, save_torch

CONTENT = {"model": {"a": torch.arange(1000.0)}, "optimizer": {"state": [torch.ones(1000)]}, "step": 3}


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    read = load_torch(save_torch(tmp_path / "in.pth", CONTENT))
    assert read["step"] == 3 and torch.equal(read["model"]["a"], CONTENT["model"]["a"])


@pytest.mark.parametrize("tensor", [CONTENT["model"]["a"], CONTENT["optimizer"]["state"][0]])
def test_a_damaged_number_of_a_checkpoint_is_found(tmp_path, tensor):
    """torch.load itself compares no checksum, and would go on with the wrong number."""
    path = save_torch(tmp_path / "in.pth", CONTENT)
    data = bytearray(path.read_bytes())
    data[data.index(tensor.numpy().tobytes()) + 1234] ^= 1
    path.write_bytes(bytes(data))
    torch.load(path, weights_only=True)
    with pytest.raises(UserError, match=r"cannot be read as a torch checkpoint \(the checksum of its part .*data/\d"):
        load_torch(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"\x80\x02.", b"\x80\x8a.", b"\x80\x02a.", b"PK", b"PK\x03\x04" + bytes(60), b"\x80\x02ca\\q\nb\n."],
)
def test_whatever_a_damaged_checkpoint_raises_in_its_readers_is_one_sentence(tmp_path, content):
    """IndexError and warnings among them; found by tests/fuzz."""
    (tmp_path / "in.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as a torch checkpoint \("):
        load_torch(tmp_path / "in.pth")


def test_a_checkpoint_that_was_written_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = save_torch(tmp_path / "in.pth", CONTENT)
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_torch(path)["step"] == 3
