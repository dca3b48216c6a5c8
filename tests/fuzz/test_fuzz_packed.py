"""Packed sets that were damaged or put together by somebody else: every image as it was packed, or one sentence."""

import io
import json
import shutil
import zlib

import numpy as np
import pytest
from hypothesis import strategies as st

from helpers.damaged import ODD, a_changed_tree, damaged_bytes
from helpers.fuzzing import outcome, search
from helpers.textured import texture
from pretrain.data import pack
from pretrain.data.decode import UnreadableImage
from pretrain.data.packed import BLOB, INDEX
from pretrain.data.sources import open_source
from pretrain.runtime.errors import UserError

CUT = 5  # images of the set


@pytest.fixture
def folder(tmp_path):
    """Two classes of PNGs."""
    for place in range(CUT):
        path = tmp_path / "set" / f"class {place % 2}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        texture(9, 8, place).save(path)
    return tmp_path / "set"


def read_all(root):
    """Class and bytes of each image by its name; None where an image says that it was damaged."""
    source = open_source(root)
    found = {}
    for place, path in enumerate(source.paths):
        label = None if source.labels is None else source.classes[source.labels[place]]
        try:
            found[str(path.relative_to(root))] = (label, source.read_bytes(place))
        except UnreadableImage:
            found[str(path.relative_to(root))] = (label, None)
    return found


def test_damaged_bytes_of_a_packed_set_are_told_and_never_taken_for_an_image(tmp_path, folder):
    root = tmp_path / "packed"
    pack.pack(folder, root, 0, 90, 1)
    whole, parts = read_all(root), {name: (root / name).read_bytes() for name in (BLOB, INDEX)}

    def check(name, content):
        for part, data in parts.items():
            (root / part).write_bytes(content if part == name else data)
        found = outcome(lambda: read_all(root), root)
        if not isinstance(found, UserError):
            told = {key: (label, None) for key, (label, _) in whole.items()}
            assert {key: (label, None) for key, (label, _) in found.items()} == told
            assert all(data in (None, whole[key][1]) for key, (_, data) in found.items())

    damage = [damaged_bytes(data).map(lambda content, name=name: (name, content)) for name, data in parts.items()]
    search(lambda damaged: check(*damaged), 150, damaged=st.one_of(damage))


def index_of(header, columns):
    """The bytes of an index."""
    written = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(written, allow_pickle=False, header=text, **columns)
    return written.getvalue()


KINDS = ["<i4", ">i8", "<u2", "<f8", "?", "<U3", "<c8", "V0", "<M8[s]"]
COLUMN = st.one_of(
    st.lists(st.integers(-3, 400), max_size=CUT + 2).map(lambda values: np.array(values, np.int64)),
    st.sampled_from(KINDS).map(lambda kind: np.zeros(CUT, kind)),
    st.sampled_from([(), (CUT, 1), (1, CUT), (0,)]).map(lambda shape: np.zeros(shape, np.int64)),
)


def test_an_index_of_other_content_is_read_as_it_says_or_refused(tmp_path, folder):
    """The oracle reads the arrays by itself: an image is there with its bytes only where all of them fit."""
    root = tmp_path / "packed"
    pack.pack(folder, root, 0, 90, 1)
    with np.load(root / INDEX) as file:
        columns = {name: file[name] for name in file.files}
    header, blob = json.loads(columns.pop("header").tobytes()), (root / BLOB).read_bytes()

    def check(header, changed):
        now = columns | changed
        (root / INDEX).write_bytes(index_of(header, now))
        found = outcome(lambda: read_all(root), root)
        if isinstance(found, UserError):
            return
        names = now["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")
        assert len(found) == len(set(map(str, (root / name for name in names))))
        for place, name in enumerate(names):
            label, data = found[str((root / name).relative_to(root))]
            begin, end = now["offsets"][place : place + 2]
            assert data is None or (data == blob[begin:end] and zlib.crc32(data) == now["checksums"][place])
            assert label is None or label == header["classes"][now["labels"][place]]

    other = st.dictionaries(st.sampled_from(list(columns)), COLUMN, max_size=2)
    headers = st.one_of(st.just(header), a_changed_tree(header), ODD.filter(lambda value: value == value))
    search(check, 150, header=headers, changed=other)


def test_a_packing_that_goes_on_from_damaged_work_makes_the_same_set_or_is_refused(tmp_path, folder):
    pack.pack(folder, tmp_path / "fresh", 0, 90, 1)
    fresh = read_all(tmp_path / "fresh")
    part, out = tmp_path / "work" / ".out.part", tmp_path / "work" / "out"
    stopped = tmp_path / "stopped"
    half_done(folder, out, part)
    part.rename(stopped)
    parts = {path.name: path.read_bytes() for path in stopped.iterdir()}

    def check(name, content):
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        part.mkdir(parents=True)
        for other, data in parts.items():
            (part / other).write_bytes(content if other == name else data)
        done = outcome(lambda: pack.pack(folder, out, 0, 90, 1), tmp_path / "set")
        if not isinstance(done, UserError):
            assert read_all(out) == fresh and not part.exists()

    damage = [damaged_bytes(data).map(lambda content, name=name: (name, content)) for name, data in parts.items()]
    search(lambda damaged: check(*damaged), 100, damaged=st.one_of(damage))


def half_done(folder, out, part):
    """What a packing leaves that was killed before its last image."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    images = open_source(folder)
    plan = {"source": str(folder.resolve()), "short_side": 0, "quality": 90, "stamp": pack._stamp(images)}
    part.mkdir(parents=True)
    (part / pack.PLAN).write_text(json.dumps(plan))
    datas = {name: (folder / name).read_bytes() for name in names[:-1]}
    (part / BLOB).write_bytes(b"".join(datas.values()))
    entries = [pack.Entry(name, len(data), zlib.crc32(data)) for name, data in datas.items()]
    (part / pack.JOURNAL).write_text("".join(map(pack._line, entries)))
