"""A trunk's numbers are kept exactly, or refused by their kind; none becomes another silently."""

import pickle
import warnings

import pytest
import torch

from helpers.small_checkpoints import arrays, content_of, write_legacy, write_safetensors, write_zip
from pretrain.runtime.errors import UserError
from pretrain.weights.numbers import finite
from pretrain.weights.read_trunk import read_trunk
from transfer.convert.inspect_file import describe_file

WHERE = "layer1.0.conv1.weight"
FIRST = "layer1.0.conv2.weight"  # by whose shape an architecture is told
COUNTER = "bn1.num_batches_tracked"


def trunk():
    state = content_of("pytorch tutorial")["model_state_dict"]
    return {name: one for name, one in state.items() if "linear" not in name}


def plain(tensor):
    return tensor.clone(memory_format=torch.contiguous_format)


REFUSED = {
    "float8": (lambda one: one.to(torch.float8_e4m3fn), r"another type than weights have in .* \(float8_e4m3fn\)"),
    "int8": (lambda one: (one * 100).to(torch.int8), r"\(int8\)"),
    "int32": (lambda one: one.to(torch.int32), r"\(int32\)"),
    "bool": (lambda one: one > 0, r"\(bool\)"),
    "complex": (lambda one: one * (1 + 1j), r"\(complex64\)"),
    "quantised": (
        lambda one: torch.quantize_per_tensor(one, 0.1, 0, torch.qint8),
        r"packed tensors in .* \(quantised\)",
    ),
    "per channel": (
        lambda one: torch.quantize_per_channel(one, torch.ones(len(one)), torch.zeros(len(one)), 0, torch.qint8),
        r"\(quantised\)",
    ),
    "sparse": (lambda one: one.to_sparse(), r"\(sparse\)"),
    "sparse rows": (lambda one: one.flatten(1).to_sparse_csr(), r"\(sparse\)"),
    "meta": (lambda one: one.to("meta"), r"\(meta\)"),
    "NaN": (lambda one: one.index_fill(0, torch.tensor([0]), float("nan")), r"not finite in"),
    "beyond float32": (lambda one: torch.full_like(one, 1e39, dtype=torch.float64), r"float32 cannot hold in"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_numbers_that_are_no_weights_are_refused_by_their_kind(tmp_path, kind):
    change, message = REFUSED[kind]
    for write, name in ((write_zip, FIRST), (write_legacy, "conv1.weight")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(tmp_path / "in.pth", {"state_dict": trunk() | {name: change(plain(trunk()[name]))}})
        with pytest.raises(UserError, match=message):
            read_trunk(tmp_path / "in.pth")
        if kind == "float8" and write is write_zip:  # torch's old format has no such numbers
            break


def test_inspection_lists_what_a_conversion_refuses(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = {WHERE: plain(trunk()[WHERE]).to_sparse(), FIRST: plain(trunk()[FIRST]).to(torch.float8_e4m3fn)}
        write_zip(tmp_path / "in.pth", trunk() | odd)
    lines = describe_file(tmp_path / "in.pth")
    told = [next(lines) for _ in range(8)]
    assert any("float32, float8_e4m3fn, int64, sparse" in line or "float8_e4m3fn, sparse" in line for line in told), (
        told
    )
    with pytest.raises(UserError, match=r"\(sparse\); it holds numbers of another type"):
        list(lines)


def test_foreign_numbers_in_safetensors_and_pickles_are_refused_as_well(tmp_path):
    for dtype in (torch.float8_e4m3fn, torch.int8):
        state = trunk() | {WHERE: plain(trunk()[WHERE]).to(dtype)}
        write_safetensors(tmp_path / "in.safetensors", {"model": state})
        with pytest.raises(UserError, match="another type than weights have"):
            read_trunk(tmp_path / "in.safetensors")
    content = arrays({"state_dict": trunk()})
    content["state_dict"][WHERE] = content["state_dict"][WHERE].astype("i2")
    (tmp_path / "in.pkl").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(UserError, match=r"\(int16\)"):
        read_trunk(tmp_path / "in.pkl")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_that_float32_holds_are_kept_exactly(tmp_path, dtype):
    state = {name: one.to(dtype) if one.is_floating_point() else one for name, one in trunk().items()}
    write_zip(tmp_path / "in.pth", state)
    found = read_trunk(tmp_path / "in.pth").state
    for name, one in state.items():
        assert found[name].dtype == (torch.float32 if one.is_floating_point() else torch.int64)
        assert torch.equal(found[name].to(one.dtype), one), name


@pytest.mark.parametrize(
    "count", [torch.tensor(7, dtype=torch.int32), torch.tensor(7.0), torch.tensor(7, dtype=torch.uint8)]
)
def test_a_counter_of_any_whole_number_becomes_int64(tmp_path, count):
    write_zip(tmp_path / "in.pth", trunk() | {COUNTER: count})
    found = read_trunk(tmp_path / "in.pth").state[COUNTER]
    assert found.dtype == torch.int64 and found.item() == 7


@pytest.mark.parametrize("count", [7.5, float("nan"), 1e30])
def test_a_counter_that_is_no_whole_number_is_refused(tmp_path, count):
    write_zip(tmp_path / "in.pth", trunk() | {COUNTER: torch.tensor(count)})
    with pytest.raises(UserError, match="no whole number in|not finite in"):
        read_trunk(tmp_path / "in.pth")


def test_a_number_under_many_indices_is_looked_at_once():
    """4e10 indices of one number, and of overlapping rows: neither is ever made as large as it seems."""
    one = torch.tensor([2.0]).expand(200_000, 200_000)
    assert finite(one) and not finite(torch.tensor([float("inf")]).expand(200_000, 200_000))
    rows = torch.zeros(400_000).as_strided((200_000, 200_000), (1, 1))
    assert finite(rows)
    rows[0, 5] = float("nan")
    assert not finite(rows)


def test_a_weight_that_shares_its_numbers_is_written_out_in_full(tmp_path):
    write_zip(tmp_path / "in.pth", trunk() | {WHERE: torch.tensor(0.5).expand(64, 64, 3, 3)})
    found = read_trunk(tmp_path / "in.pth").state[WHERE]
    assert found.is_contiguous() and torch.equal(found, torch.full((64, 64, 3, 3), 0.5))
