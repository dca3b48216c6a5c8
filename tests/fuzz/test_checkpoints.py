"""Checkpoints of every layout, damaged or changed: read exactly, or refused in one sentence."""

import functools
import pickle
import warnings

import pytest
import torch
from hypothesis import strategies as st

from helpers.fuzzing import outcome, search
from helpers.public_checkpoints import RECIPES
from helpers.small_checkpoints import FORMATS, NUMBERS, content_of, write_zip
from pretrain.runtime.errors import UserError
from pretrain.weights.read_file import read_content
from pretrain.weights.read_trunk import read_trunk
from transfer.convert.inspect_file import describe_file

pytestmark = pytest.mark.slow

FAST = ("zip", "before zip")  # of which a file is small
DAMAGE = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("zeros"), st.floats(0, 1), st.integers(1, 4096)),
    st.tuples(st.just("twice"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("without"), st.floats(0, 1), st.integers(1, 64)),
)


def damaged(data, changes):
    """`data` after changes at places given as shares of its length."""
    data = bytearray(data)
    for kind, share, amount in changes:
        place = int(share * max(len(data) - 1, 0))
        if kind == "flip" and data:
            data[place] ^= amount
        elif kind == "cut":
            del data[place:]
        elif kind == "zeros":
            data[place : place + amount] = bytes(len(data[place : place + amount]))
        elif kind == "twice":
            data[place:place] = data[place : place + amount]
        elif kind == "without":
            del data[place : place + amount]
    return bytes(data)


def same(state, expected):
    return list(state) == list(expected) and all(torch.equal(state[name], one) for name, one in expected.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """By kind and format: the bytes of a whole file, and its trunk."""
    folder = tmp_path_factory.mktemp("whole")

    @functools.lru_cache(12)
    def made(kind, name):
        FORMATS[name][0](folder / "in.pth", content_of(kind))
        read = outcome(lambda: read_trunk(folder / "in.pth"), folder)
        return (folder / "in.pth").read_bytes(), None if isinstance(read, UserError) else read.state

    return made


def test_damaged_files_of_every_layout_are_read_exactly_or_refused(tmp_path, whole):
    def check(kind, name, changes):
        data, expected = whole(kind, name)
        path = tmp_path / "in.pth"
        path.write_bytes(damaged(data, changes))
        outcome(lambda: list(describe_file(path)), tmp_path)
        found = outcome(lambda: read_trunk(path), tmp_path)
        if not isinstance(found, UserError) and FORMATS[name][1]:
            assert expected is not None and same(found.state, expected)

    formats = st.sampled_from([*FAST * 4, "pickle", "safetensors"])
    changes = st.lists(DAMAGE, min_size=1, max_size=3)
    search(check, 30, kind=st.sampled_from(list(RECIPES)), name=formats, changes=changes)


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.complex64]
DTYPES += [torch.int8, torch.int32, torch.int64, torch.bool, torch.uint16]
FIT = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
KINDS = {"sparse": lambda one: one.contiguous().to_sparse(), "meta": lambda one: one.to("meta")}
VALUES = st.sampled_from([float("nan"), float("inf"), 1e39, -1e300])
CHANGE = st.one_of(
    st.tuples(st.just("dtype"), st.sampled_from(DTYPES)),
    st.tuples(st.just("kind"), st.sampled_from(list(KINDS))),
    st.tuples(st.just("value"), VALUES),
    st.tuples(st.just("shape"), st.sampled_from([(), (1,), (64,), (64, 64, 3, 3), (1, 1, 1, 1, 1)])),
    st.tuples(st.just("absent"), st.none()),
    st.tuples(st.just("name"), st.text(max_size=8)),
    st.tuples(st.just("object"), st.sampled_from([None, 3, "text", [], {}, b"bytes"])),
)


def changed(state, name, change, what):
    """The state with one tensor changed, and whether a trunk may still be read from it."""
    tensor = state[name]
    if change == "dtype":
        return state | {name: tensor.contiguous().to(what)}, what in FIT
    if change == "value":
        spoilt = tensor.contiguous().double()
        spoilt.view(-1)[0] = what
        return state | {name: spoilt}, False
    if change == "shape":
        return state | {name: NUMBERS.as_strided(what, (1,) * len(what))}, tuple(tensor.shape) == what
    if change == "absent":
        return {key: one for key, one in state.items() if key != name}, False
    if change == "name":
        return {key if key != name else f"{what}{name}": one for key, one in state.items()}, not what
    return state | {name: KINDS[what](tensor) if change == "kind" else what}, False


def test_one_changed_tensor_is_read_as_it_is_or_refused(tmp_path):
    """The oracle is the changed tensor itself."""
    whole = content_of("pytorch tutorial")["model_state_dict"]
    names = [name for name in whole if name.endswith(("weight", "running_var")) and "linear" not in name]

    def check(name, change):
        state, fits = changed(whole, name, *change)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_zip(tmp_path / "in.pth", {"state_dict": state, "arch": "resnet18"})
        outcome(lambda: list(describe_file(tmp_path / "in.pth")), tmp_path)
        found = outcome(lambda: read_trunk(tmp_path / "in.pth"), tmp_path)
        if isinstance(found, UserError):
            assert not fits, str(found)
        else:
            assert torch.equal(found.state[name], state[name].float())

    search(check, 30, name=st.sampled_from(names), change=CHANGE)


WORDS = st.sampled_from(["module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module"])
HEADS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=10)


def test_wrappers_anywhere_and_any_head_change_nothing(tmp_path):
    whole = content_of("pytorch tutorial")["model_state_dict"]
    trunk = {name: one for name, one in whole.items() if "linear" not in name}

    def check(word, place, head, outer):
        def wrapped(name):
            words = name.split(".")
            return ".".join([*words[:place], word, *words[place:]])

        heads = {f"{head}_head.{part}": whole[f"last_linear.1.{part}"] for part in ("weight", "bias")}
        write_zip(tmp_path / "in.pth", {outer: {wrapped(name): one for name, one in trunk.items()} | heads})
        found = outcome(lambda: read_trunk(tmp_path / "in.pth"), tmp_path)
        if isinstance(found, UserError):  # such as stem_head, which may be a part of the trunk
            assert "holds beyond the trunk" in str(found)
        else:
            assert set(found.state) == set(trunk)
            assert all(torch.equal(found.state[name], one) for name, one in trunk.items())

    outers = st.sampled_from(["state_dict", "model", "model_state_dict", "net", "network"])
    search(check, 15, word=WORDS, place=st.integers(0, 3), head=HEADS, outer=outers)


NAMES = st.sampled_from(
    [
        "collections OrderedDict",
        "collections defaultdict",
        "numpy dtype",
        "numpy ndarray",
        "torch._utils _rebuild_tensor_v2",
    ]
    + ["torch FloatStorage", "_codecs encode", "copy_reg _reconstructor", "__builtin__ set", "os system", "torch Size"]
    + ["torch.nn.parameter Parameter", "numpy._core.multiarray scalar", "numpy._core.multiarray _reconstruct", "a b"]
)
PLACE = st.integers(0, 6)
OPERATION = st.one_of(
    st.sampled_from(
        [b"(", b")", b"]", b"}", b"N", b"\x88", b"t", b"\x85", b"\x86", b"\x87", b"l", b"d", b"s", b"u", b"a"]
    ),
    st.sampled_from(
        [b"e", b"R", b"b", b"\x81", b"\x92", b"0", b"1", b"2", b"\x94", b"\x8f", b"\x90", b"\x91", b"Q", b"\x93"]
    ),
    st.binary(max_size=9).map(lambda data: b"C" + bytes([len(data)]) + data),
    st.integers(0, 255).map(lambda number: b"K" + bytes([number])),
    st.integers(-(2**31), 2**31 - 1).map(lambda number: b"J" + number.to_bytes(4, "little", signed=True)),
    st.sampled_from(["f4", "latin1", "storage", "__setstate__", "__dict__", "0", "cpu", ">"]).map(
        lambda text: b"X" + len(text).to_bytes(4, "little") + text.encode()
    ),
    NAMES.map(lambda name: b"c" + name.replace(" ", "\n").encode() + b"\n"),
    PLACE.map(lambda place: b"q" + bytes([place])),
    PLACE.map(lambda place: b"h" + bytes([place])),
)


def test_pickles_of_any_operations_are_read_or_refused(tmp_path):
    head = pickle.dumps({"state_dict": {"a": 1}}, 2)[:-1]

    def check(operations, whole):
        (tmp_path / "in.pkl").write_bytes((head if whole else b"\x80\x04") + b"".join(operations) + b".")
        outcome(lambda: list(describe_file(tmp_path / "in.pkl")), tmp_path)
        (tmp_path / "after.pkl").write_bytes(pickle.dumps({"a": NUMBERS[:3].numpy().astype(">f4")}, 2))
        assert torch.equal(read_content(tmp_path / "after.pkl")["a"], NUMBERS[:3])  # nothing of it outlasts the file

    search(check, 200, operations=st.lists(OPERATION, max_size=40), whole=st.booleans())
