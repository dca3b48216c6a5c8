"""Pickles of every protocol and format are read as torch and NumPy read them; broken and hostile ones are bounded."""

import contextlib
import io
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from pretrain.weights.pickles.objects import OddTensor
from pretrain.weights.read_file import read_content
from transfer.convert.inspect_file import describe_file

GENERATOR = torch.Generator().manual_seed(0)
BASE = torch.randn(6, 4, generator=GENERATOR)
TENSORS = {
    "float32": BASE,
    "float64": BASE.double(),
    "float16": BASE.half(),
    "bfloat16": BASE.bfloat16(),
    "float8": BASE.to(torch.float8_e4m3fn),
    "int64": torch.arange(5),
    "uint8": torch.arange(5, dtype=torch.uint8),
    "uint16": torch.arange(5).to(torch.uint16),
    "bool": BASE > 0,
    "complex": torch.complex(BASE, BASE),
    "a number": torch.tensor(3),
    "nothing": torch.zeros(0, 3),
    "transposed": BASE.t(),
    "a part": BASE[2:5, 1:3],
    "every other": BASE[::2],
    "expanded": BASE[:1].expand(9, 4),
    "a parameter": nn.Parameter(BASE),
}
FORMATS = {"zip": {}, "before zip": {"_use_new_zipfile_serialization": False}}


def same(one, other):
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and torch.equal(one.to(torch.complex128), other.to(torch.complex128))
    )


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", FORMATS)
def test_what_torch_saves_is_read_exactly_under_every_protocol(tmp_path, kind, protocol):
    content = {"state_dict": OrderedDict(TENSORS), "shared": BASE, "epoch": 3, "name": "é"}
    if kind == "before zip":  # torch refuses these there
        content["state_dict"] = OrderedDict(
            (name, one) for name, one in TENSORS.items() if name not in ("float8", "uint16")
        )
    torch.save(content, tmp_path / "in.pth", pickle_protocol=protocol, **FORMATS[kind])
    read = read_content(tmp_path / "in.pth")
    assert (read["epoch"], read["name"]) == (3, "é") and same(read["shared"], BASE)
    assert list(read["state_dict"]) == list(content["state_dict"])
    for name, tensor in content["state_dict"].items():
        assert same(read["state_dict"][name], tensor.detach()), name


@pytest.mark.parametrize("kind", FORMATS)
def test_protocol_0_which_torch_cannot_read_either_is_said(tmp_path, kind):
    torch.save({"a": BASE}, tmp_path / "in.pth", pickle_protocol=0, **FORMATS[kind])
    with pytest.raises(UserError, match="pickle protocol 0"):
        read_content(tmp_path / "in.pth")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read_exactly_under_every_protocol(tmp_path, protocol):
    arrays = {
        "plain": np.arange(6, dtype="f4").reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype="f8").reshape(2, 3)),
        "big-endian": np.arange(4, dtype=">f4"),
        "whole": np.arange(4, dtype="i8"),
        "none": np.zeros((0, 3), "f4"),
        "one": np.array(2.5, dtype="f4"),
    }
    more = {"epoch": np.int64(4), "text": np.array(["a"]), "objects": np.array([{}, None], dtype=object)}
    (tmp_path / "in.pkl").write_bytes(pickle.dumps({"model": {**arrays, **more}}, protocol))
    read = read_content(tmp_path / "in.pkl")["model"]
    for name, array in arrays.items():
        assert read[name].numpy().dtype == array.dtype.newbyteorder("=") and np.array_equal(
            read[name].numpy(), array
        ), name
    assert read["epoch"] == 4


@pytest.mark.parametrize("kind", FORMATS)
def test_containers_of_training_scripts_are_passed_over(tmp_path, kind):
    beside = {"history": defaultdict(list, loss=[1.0]), "recent": deque([1, 2], 5), "seen": {1, 2}, "part": slice(3)}
    torch.save({"state_dict": defaultdict(None, a=BASE), **beside}, tmp_path / "in.pth", **FORMATS[kind])
    read = read_content(tmp_path / "in.pth")
    assert same(read["state_dict"]["a"], BASE) and read["history"] == {"loss": [1.0]}


def test_an_odd_escape_in_a_damaged_file_is_one_sentence_without_a_warning(tmp_path):
    """Python warns of a text in a pickle that ends with a backslash; tests take warnings for errors."""
    (tmp_path / "in.pkl").write_bytes(b"\x80\x02}X\x01\x00\x00\x00a" + b"S'\\q'\n" + b"s" + b"ca\\q\nb\n.")
    with pytest.raises(UserError, match="objects other than tensors"):
        read_content(tmp_path / "in.pkl")


def test_torchscript_is_read_as_its_state_dict(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(str(tmp_path / "in.pt"))
    read = read_content(tmp_path / "in.pt")
    assert set(read) == set(network.state_dict())
    assert all(same(read[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_plain_pickle_of_tensors_is_read_when_its_hash_is_typed(tmp_path, protocol):
    path = tmp_path / "in.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": BASE}}, protocol))
    with pytest.raises(UserError, match=rf"torch\.storage\._load_from_bytes.*--allow-pickle {sha256_of(path)}"):
        read_content(path)
    assert same(read_content(path, sha256_of(path))["model"]["a"], BASE)
    assert same(read_content(path, sha256_of(path).upper())["model"]["a"], BASE)


@pytest.mark.parametrize("kind", FORMATS)
def test_tensors_without_plain_numbers_are_told_by_their_kind(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = {"sparse": BASE.to_sparse(), "quantised": torch.quantize_per_tensor(BASE, 0.1, 0, torch.qint8)}
        odd["meta"] = BASE.to("meta")
        torch.save(odd, tmp_path / "in.pth", **FORMATS[kind])
    own, trusted = (read_content(tmp_path / "in.pth", typed) for typed in (None, sha256_of(tmp_path / "in.pth")))
    for read in (own, trusted):
        assert {name: read[name].kind for name in odd if isinstance(read[name], OddTensor)} == {
            name: name for name in odd
        }


def flipped(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(bytes(data))


def test_a_damaged_byte_of_any_tensor_is_found_by_its_checksum(tmp_path):
    torch.save({"a": BASE, "b": torch.arange(100.0)}, tmp_path / "in.pth")
    for name in ("a", "b"):
        torch.save({"a": BASE, "b": torch.arange(100.0)}, tmp_path / "in.pth")
        needle = {"a": BASE, "b": torch.arange(100.0)}[name].numpy().tobytes()
        flipped(tmp_path / "in.pth", (tmp_path / "in.pth").read_bytes().index(needle) + 13)
        with pytest.raises(UserError, match="CRC"):
            read_content(tmp_path / "in.pth")


def test_a_file_that_torch_wrote_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": BASE}, tmp_path / "in.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read_content(tmp_path / "in.pth")["a"], BASE)


# files that ask for endless work


def shared(depth, make):
    one = "x"
    for _ in range(depth):
        one = make(one)
    return one


def tuple_key(depth):
    """A pickle of {t: 1} whose key holds itself twice at every depth: its hash is that of 2^depth tuples."""
    return b"\x80\x02}" + b"K\x01" + b"q\x00h\x00\x86" * depth + b"K\x01s."


def deep_key(depth):
    """A pickle of {(((...))): 1}, whose hash recurses `depth` times."""
    return b"\x80\x02}" + b"K\x01" + b"\x85" * depth + b"K\x01s."


class Asked:
    """Pickles as a call of a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def array_of(size):
    return Asked(np.zeros(1).__reduce__()[0], np.ndarray, (size,), b"b")


HOSTILE = {
    "shared dictionaries": pickle.dumps({"model": shared(9, lambda one: {str(i): one for i in range(10)})}, 4),
    "shared lists": pickle.dumps({"version": shared(9, lambda one: [one] * 10), "model": {}}, 2),
    "lists in lists": b"\x80\x02}X\x01\x00\x00\x00a" + b"]" * 100_000 + b"a" * 99_999 + b"s.",
    "a hash without end": tuple_key(60),
    "a hash of a million tuples": deep_key(1_000_000),
    "an array of a TB": pickle.dumps({"model": array_of(10**12)}, 2),
    "an encoding": pickle.dumps({"model": Asked(__import__("codecs").encode, "a", "os")}, 2),
    "bytes of 10 TB": pickle.dumps({"model": Asked(bytearray, 10**13)}, 2),
    "text of 4 GB, without it": b"\x80\x02}X\xff\xff\xff\xff",
    "a frame of 8 EB": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "number 2**31 of the memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a number of a million digits": b"\x80\x02}X\x01\x00\x00\x00aL" + b"9" * 1_000_000 + b"L\ns.",
    "a class that is changed": b"\x80\x02}cnumpy\ndtype\n(N}X\x0c\x00\x00\x00__setstate__K\x01st b.",
    "an extension": b"\x80\x02}X\x01\x00\x00\x00a\x82\x01s.",
    "data outside": b"\x80\x02}X\x01\x00\x00\x00aK\x01Qs.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_small_files_that_ask_for_endless_work_end_at_once(tmp_path, kind):
    """As a plain pickle and inside a zip file; what holds no tensor may be read."""
    (tmp_path / "in.pkl").write_bytes(HOSTILE[kind])
    with zipfile.ZipFile(tmp_path / "in.pth", "w") as archive:
        archive.writestr("in/data.pkl", HOSTILE[kind])
    for name in ("in.pkl", "in.pth"):
        try:
            read = read_content(tmp_path / name)
        except UserError as error:
            assert str(error).isprintable() and len(str(error)) < 1000
        else:
            assert kind in ("shared dictionaries", "shared lists", "an array of a TB", "bytes of 10 TB")
            assert not any(isinstance(one, torch.Tensor) for one in read.values())


def test_what_one_file_does_to_a_class_does_not_outlast_it(tmp_path):
    (tmp_path / "bad.pkl").write_bytes(HOSTILE["a class that is changed"].replace(b"st b", b"st" + b"b"))
    with pytest.raises(UserError):
        read_content(tmp_path / "bad.pkl")
    (tmp_path / "in.pkl").write_bytes(pickle.dumps({"a": np.arange(4, dtype=">f4")}, 2))
    assert read_content(tmp_path / "in.pkl")["a"].tolist() == [0, 1, 2, 3]


def test_a_zip_file_that_unpacks_to_far_more_than_its_size_is_refused_unread(tmp_path):
    torch.save({"a": torch.zeros(64 << 20)}, small := io.BytesIO())
    with zipfile.ZipFile(small) as source, zipfile.ZipFile(tmp_path / "in.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for member in source.infolist():
            archive.writestr(member.filename, source.read(member))
    assert (tmp_path / "in.pth").stat().st_size < 1 << 20
    with pytest.raises(UserError, match=r"bytes that unpack to 268,4"):
        read_content(tmp_path / "in.pth")


def test_a_storage_that_declares_more_than_the_file_holds_is_refused(tmp_path):
    torch.save({"a": BASE}, tmp_path / "in.pth")
    with zipfile.ZipFile(tmp_path / "in.pth") as source:
        members = {name: source.read(name) for name in source.namelist()}
    for count in (25, 1 << 30):
        name = next(name for name in members if name.endswith("data.pkl"))
        said = members[name].replace(b"K\x18tq", b"J" + struct.pack("<i", count) + b"tq")
        assert said != members[name]
        with zipfile.ZipFile(tmp_path / "lie.pth", "w") as archive:
            for one, data in members.items():
                archive.writestr(one, said if one == name else data)
        with pytest.raises(UserError, match="has 96 bytes of"):
            read_content(tmp_path / "lie.pth")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}', "safetensors"),
        (b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}', "safetensors"),
        (b'{"a":' + b'{"b":' * 5000, "safetensors"),
        (b'{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}', "safetensors"),
    ],
)
def test_headers_of_safetensors_that_lie_are_refused(tmp_path, header, message):
    (tmp_path / "in.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(UserError, match=message):
        read_content(tmp_path / "in.safetensors")


def test_names_from_a_file_are_printed_as_escapes(tmp_path):
    name = "\x1b[2J\nerror: all is well\u202e"
    content = {
        name: BASE,
        "state_dict": {f"{name}{i}.weight": BASE for i in range(3)},
        f"{name}=": name * 1000,
        "n" * 10**6: 1,
    }
    torch.save(content, tmp_path / "in.pth")
    with pytest.raises(UserError) as caught:
        list(describe_file(tmp_path / "in.pth"))
    told = list(_until_refused(tmp_path / "in.pth"))
    assert len(told) > 3 and all(line.isprintable() and len(line) < 3000 for line in [*told, str(caught.value)])
    assert "\\x1b[2J\\nerror" in str(caught.value)


def _until_refused(path):
    """The lines that an inspection tells before it refuses."""
    with contextlib.suppress(UserError):
        yield from describe_file(path)


def test_a_header_longer_than_its_file_is_refused(tmp_path):
    (tmp_path / "in.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b'{"a":1}')
    with pytest.raises(UserError, match="a header of 4,611,686,018,427,387,904 bytes in a file of 15"):
        read_content(tmp_path / "in.safetensors")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"<!DOCTYPE html><html>", "a page of HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08\x00", "a compressed file"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_checkpoint_is_told_by_name(tmp_path, start, message):
    (tmp_path / "in.pth").write_bytes(start)
    with pytest.raises(UserError, match=message):
        read_content(tmp_path / "in.pth")
