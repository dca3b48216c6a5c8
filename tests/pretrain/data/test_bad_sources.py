"""What is wrong with a list, an archive, an array or a table is one sentence; what is left out is counted."""

from __future__ import annotations

import bz2
import gzip
import os
import re
import sys
import zipfile

import numpy as np
import pytest

from helpers import stored
from pretrain.data.archives.tar import BLOCK
from pretrain.data.decode import UnreadableImage
from pretrain.data.sources import Reading, open_source
from pretrain.runtime.errors import UserError
from transfer.datasets.labelled import open_pair


def refused(root, told, labelled=False, **reading):
    with pytest.raises(UserError, match=told) as caught:
        open_source(root, labelled=labelled, reading=Reading(**reading))
    assert str(caught.value).endswith(".") and str(caught.value).isprintable()


@pytest.mark.parametrize("way", ["folder", "zip", "tar", "txt"])
def test_a_column_of_what_has_none_is_refused_but_beside_a_root_that_has_it(tmp_path, way):
    root = stored.WAYS[way](tmp_path)
    refused(root, "data.label_column=what names a column, and .* has none: leave it out", label_column="what")
    refused(root, "data.image_column=x names a column", image_column="x")
    (tmp_path / "own").mkdir()
    table = stored.folder(tmp_path / "own") / "a.csv"
    table.write_text("where,what\nant/00.png,bee\nbee/05.png,ant\n")
    reading = Reading(image_column="where", label_column="what")
    both = open_source(f"[{root},{table}]", reading=reading)
    assert len(both) == 8 and len({both.key(at) for at in range(8)}) == 8
    if way != "txt":
        train, val = open_pair(table, root, reading=reading)
        assert (train.labels, val.labels, val.classes) == ((1, 0), (0, 0, 0, 1, 1, 1), ("ant", "bee"))


LISTS = {
    "missing files": (
        "a.txt",
        "ant/00.png\nant/no.png\nbee/gone.png\n",
        "names 3 images, of which 2 are not there.*no.png",
    ),
    "a missing folder": ("a.txt", "cat/00.png\n", r"1 are not there.*cat/00\.png.*images_root=FOLDER"),
    "twice": ("a.txt", "ant/00.png\nbee/05.png\n./ant/00.png\n", "names ant/00.png twice"),
    "nothing": ("a.txt", "\n  \n", "names no image"),
    "a heading alone": ("a.csv", "path,label\n", "has no rows"),
    "an empty path": ("a.csv", "path,label\n,ant\n", "has an empty path"),
    "uneven rows": ("a.csv", "path,label\nant/00.png,ant\nbee/05.png\n", "has 1 cells in row 3 and 2 in the first"),
    "no known column": ("a.csv", "where,what\nant/00.png,ant\n", "columns where, what: say which holds the images"),
    "two known columns": (
        "a.csv",
        "path,file\nant/00.png,x\n",
        "columns path, file: say which with data.image_column=NAME",
    ),
    "not text": ("a.tsv", b"\xff\xd8\xff", "not a list of images in UTF-8"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_that_cannot_be_meant_is_one_sentence(tmp_path, case):
    name, text, told = LISTS[case]
    stored.folder(tmp_path)
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(tmp_path / name, told)


def test_columns_are_named_by_options_and_an_unknown_one_is_told(tmp_path):
    stored.folder(tmp_path / "images")
    (tmp_path / "a.csv").write_text("where,what,path\nant/00.png,b,zz\nbee/05.png,a,zz\n")
    given = {"images_root": str(tmp_path / "images"), "image_column": "where", "label_column": "what"}
    source = open_source(tmp_path / "a.csv", reading=Reading(**given))
    assert [source.key(at) for at in range(2)] == ["ant/00.png", "bee/05.png"]
    assert (source.classes, source.labels) == (("a", "b"), (1, 0))
    refused(
        tmp_path / "a.csv", "has no column kind .data.label_column=kind.: it has where, what, path", label_column="kind"
    )


def test_paths_that_lie_elsewhere_and_lists_without_labels_have_an_outcome(tmp_path):
    stored.folder(tmp_path / "a")
    (tmp_path / "a" / "loose.png").write_bytes(stored.png(stored.pixels()[0]))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "all.txt").write_text(f"{tmp_path}/a/bee/05.png\n../a/loose.png\n")
    source = open_source(tmp_path / "b" / "all.txt")
    assert source.root == tmp_path / "a" and [source.key(at) for at in range(2)] == ["loose.png", "bee/05.png"]
    assert np.array_equal(source.read_pixels(0), stored.pixels()[0]) and source.labels is None
    (tmp_path / "a" / "mixed.txt").write_text("loose.png\nbee/05.png\n")
    assert open_source(tmp_path / "a" / "mixed.txt").labels is None
    refused(tmp_path / "a" / "mixed.txt", "mixes 1 loose image", labelled=True)


def test_a_tar_cut_short_anywhere_is_told(tmp_path):
    whole = stored.tar(tmp_path / "whole.tar", stored.files()).read_bytes()
    end = len(whole.rstrip(b"\0"))
    for length in (0, 100, BLOCK, BLOCK + 100, end // 2, end - 10, -(-end // BLOCK) * BLOCK):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        refused(tmp_path / "cut.tar", r"cut.tar cannot be read \(.*: copy or download it again")


def test_a_damaged_header_is_told_and_does_not_end_the_list(tmp_path):
    data = bytearray(stored.tar(tmp_path / "a.tar", stored.files()).read_bytes())
    second = data.index(b"ant/01.png")
    data[second] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    refused(tmp_path / "a.tar", f"damaged at byte {second}")


def test_an_inner_tar_cut_short_is_told(tmp_path):
    inner = stored.tar(tmp_path / "in.tar", stored.files()).read_bytes()
    stored.tar(tmp_path / "out.tar", {"ant.tar": inner[: len(inner) // 3]})
    refused(tmp_path / "out.tar", "out.tar cannot be read .*(cut short|damaged|unexpected end)")


@pytest.mark.parametrize(("press", "program"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2")])
def test_a_compressed_tar_is_told_to_be_unpacked_by_one_layer(tmp_path, press, program):
    tar = stored.tar(tmp_path / "a.tar", stored.files())
    tar.write_bytes(press(tar.read_bytes()))
    refused(tar, f"compressed by {program}.*leaves a plain tar")


def test_two_members_of_one_name_are_refused_in_one_archive_and_told_apart_in_two(tmp_path):
    stored.zipped(tmp_path / "a.zip", {"x/1.png": b"", "./x//1.png": b""})
    refused(tmp_path / "a.zip", "holds two members of the name x/1.png")
    for number, picture in enumerate(stored.pixels(2)):
        stored.tar(tmp_path / f"part{number}.tar", {"0.png": stored.png(picture), "0.cls": b"7"})
    source = open_source(tmp_path / "part*.tar")
    assert [source.key(at) for at in range(2)] == ["part0/0.png", "part1/0.png"] and source.classes == ("7",)
    assert np.array_equal([source.read_pixels(at) for at in range(2)], stored.pixels(2))


def test_names_that_lead_out_of_an_archive_stay_in_the_set(tmp_path):
    source = open_source(stored.tar(tmp_path / "a.tar", {"../../etc/x.png": b"", "/etc/y.png": b""}))
    assert [source.key(at) for at in range(2)] == ["etc/x.png", "etc/y.png"]


SHARDS = {
    "one of a range": ("s-{0..3}.tar", r"2 files are missing, such as .*s-2\.tar"),
    "all": ("other-{a,b}.tar", "there is none, such as .*other-a.tar"),
    "none matched": ("t-*.tar", r"there is none, such as .*t-\*\.tar"),
    "one twice": ("s-{0,0}.tar", r"names .*s-0\.tar twice"),
    "far too many": ("s-{0..9999999}.tar", "more than 1,000,000 files"),
}


@pytest.mark.parametrize("case", SHARDS)
def test_a_pattern_that_is_not_complete_is_told(tmp_path, case):
    for number in range(2):
        stored.tar(tmp_path / f"s-{number}.tar", {f"{number}.png": b""})
    refused(tmp_path / SHARDS[case][0], SHARDS[case][1])


def test_a_label_that_is_no_number_and_an_image_without_one_are_told(tmp_path):
    stored.tar(tmp_path / "a.tar", {"0.png": b"", "0.cls": b"cat"})
    refused(tmp_path / "a.tar", "label 0.cls holds 'cat': it has to be a whole number")
    stored.tar(tmp_path / "b.tar", {"0.png": b"", "0.cls": b"1", "1.png": b""})
    assert open_source(tmp_path / "b.tar").labels is None
    refused(tmp_path / "b.tar", r"no \.cls label for 1 of 2 images, such as 1.png", labelled=True)


def test_an_index_older_than_its_shard_is_made_anew_and_a_shard_that_changes_later_is_told(tmp_path, capsys):
    tar = stored.tar(tmp_path / "a.tar", dict(list(stored.files().items())[:2]))
    before = open_source(tar)
    stored.tar(tar, stored.files())
    after = open_source(tar)
    assert (len(before), len(after)) == (2, 6) and "newer than its index, which is made anew" in capsys.readouterr().out
    with pytest.raises(UserError, match="has changed since it was listed: start again"):
        before.read_bytes(0)
    os.utime(tar, (1, 1))
    assert np.array_equal(open_source(tar).read_pixels(5), stored.pixels()[5])


def test_a_damaged_index_and_a_cache_that_cannot_be_written_are_done_without(tmp_path, capsys):
    tar = stored.tar(tmp_path / "a.tar", stored.files())
    cache = tmp_path / "indexes"
    for _ in range(2):
        assert len(open_source(tar, reading=Reading(index_cache=str(cache)))) == 6
        (index,) = cache.glob("*.npz")
        index.write_bytes(index.read_bytes()[:200])
    (tmp_path / "file").touch()
    assert len(open_source(tar, reading=Reading(index_cache=str(tmp_path / "file" / "below")))) == 6
    assert "cannot be kept in" in capsys.readouterr().err


def test_hidden_members_links_and_other_files_are_left_out_and_counted_and_capitals_are_taken(tmp_path):
    extra = {
        "ant/._00.png": b"",
        "__MACOSX/ant/00.png": b"",
        ".DS_Store": b"",
        "ant/notes.txt": b"",
        "bee/06.PNG": b"",
        "README": b"",
    }
    tar = stored.tar(tmp_path / "a.tar", stored.files() | extra, links=["bee/again.png"])
    told = "7 images in 2 classes, tar; left out: 3 hidden or system, 1 .txt, 1 links, 1 without a known ending"
    assert open_source(tar).about == f"{tar}: {told}"
    zipped = stored.zipped(tmp_path / "a.zip", stored.files() | extra)
    assert open_source(zipped).about == f"{zipped}: {told.replace('tar', 'zip').replace(' 1 links,', '')}"


def test_images_without_folders_or_labels_have_no_classes_and_evaluation_says_so(tmp_path):
    tar = stored.tar(tmp_path / "a.tar", {"0.png": b"", "1.png": b""})
    assert open_source(tar).about == f"{tar}: 2 images, no classes, tar"
    with pytest.raises(UserError, match="without labels"):
        open_pair(tar, tar)
    stored.tar(tar, {"0.png": b"", "ant/1.png": b""})
    refused(tar, "mixes 1 loose image")
    refused(stored.tar(tmp_path / "b.tar", {"x.txt": b""}), r"holds no image; left out: 1 \.txt")


def test_a_folder_that_an_archive_lacks_is_told_with_what_it_has(tmp_path):
    root = stored.zipped(tmp_path / "a.zip", stored.files())
    refused(root / "val", "has no folder val with images; it has ant, bee")
    assert open_source(root / "ant").about == f"{root / 'ant'}: 3 images, no classes, zip"


def test_a_zip_that_cannot_be_read_is_told(tmp_path):
    whole = stored.zipped(tmp_path / "a.zip", stored.files()).read_bytes()
    for length in (0, 100, len(whole) - 30):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        refused(tmp_path / "cut.zip", "cut.zip cannot be read")
    refused(stored.zipped(tmp_path / "b.zip", stored.files(), zipfile.ZIP_BZIP2), "compressed by bzip2")
    data = bytearray(stored.zipped(tmp_path / "c.zip", {"a.png": b"1"}).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag of encryption in the directory
    (tmp_path / "c.zip").write_bytes(data)
    refused(tmp_path / "c.zip", "a.png is encrypted")


def test_a_damaged_member_is_an_unreadable_image_and_the_others_are_read(tmp_path):
    root = stored.zipped(tmp_path / "a.zip", stored.files(), zipfile.ZIP_STORED)
    data = bytearray(root.read_bytes())
    data[data.index(stored.files()["ant/01.png"]) + 40] ^= 1
    root.write_bytes(data)
    source = open_source(root)
    with pytest.raises(UnreadableImage, match=r"byte \d+ of .*a.zip .cut short, or not what its checksum says"):
        source.read_bytes(1)
    assert np.array_equal(source.read_pixels(2), stored.pixels()[2])


SEVERAL = {
    "a root twice": ("[{0}/a,{0}/b,{0}/./a]", (), "names .*a twice"),
    "a link to another": ("[{0}/a,{0}/link]", (), "names .*link twice"),
    "an empty root": ("[{0}/a,]", (), "names an empty root"),
    "a missing one": ("[{0}/a,{0}/c]", (), "c does not exist"),
    "weights that do not sum": (
        "[{0}/a,{0}/b]",
        (0.7, 0.4),
        r"data.weights=\[0.7,0.4\] sum to 1.1: give shares above 0",
    ),
    "too few weights": ("[{0}/a,{0}/b]", (1.0,), "1 weights for 2 roots"),
    "weights of one root": ("{0}/a", (0.5, 0.5), "is for several roots, and .*a is one"),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_several_roots_that_do_not_fit_are_told(tmp_path, case):
    stored.folder(tmp_path / "a")
    stored.folder(tmp_path / "b")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    text, weights, told = SEVERAL[case]
    refused(text.format(tmp_path), told, weights=weights)


ARRAYS = {
    "of other numbers": ({"images": np.zeros((2, 4, 4, 3), np.float32)}, {}, "holds no images of uint8 .*images <f4"),
    "in rows": ({"data": np.zeros((2, 48), np.uint8)}, {}, "holds no images of uint8"),
    "two of images": ({"a": stored.pixels(2), "b": stored.pixels(2)}, {}, "has images in a, b: say which"),
    "an unknown name": ({"a": stored.pixels(2)}, {"image_column": "c"}, "has no column c"),
    "labels of another length": (
        {"a": stored.pixels(2), "y": [1, 2, 3]},
        {"label_column": "y"},
        "cannot be labels of 2 images",
    ),
    "objects": ({"a": np.array([{}, 1], object)}, {}, "holds no images of uint8 .*a object"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_no_images_are_told(tmp_path, case):
    arrays, reading, told = ARRAYS[case]
    np.savez(tmp_path / "a.npz", **arrays)
    refused(tmp_path / "a.npz", told, **reading)


def test_arrays_without_labels_cut_short_or_chosen_have_an_outcome(tmp_path):
    np.savez(
        tmp_path / "two.npz", x_train=stored.pixels(4), y_train=[0, 1, 0, 1], x_test=stored.pixels(2), y_test=[5, 6]
    )
    test = open_source(tmp_path / "two.npz", reading=Reading(image_column="x_test"))
    assert (len(test), test.classes) == (2, ("5", "6"))
    np.save(tmp_path / "grey.npy", stored.pixels(2)[..., 0])
    grey = open_source(tmp_path / "grey.npy")
    assert grey.labels is None and np.array_equal(grey.read_pixels(1)[..., 2], stored.pixels(2)[1, ..., 0])
    refused(tmp_path / "grey.npy", "has no column of labels", labelled=True)
    for name in ("grey.npy", "two.npz"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-200])
        refused(
            tmp_path / name, f"{re.escape(name)} cannot be read as NumPy arrays", image_column="x_test" * ("z" in name)
        )


def test_tables_that_cannot_be_meant_are_told(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = stored.table()
    parquet.write_table(table.drop_columns("label"), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "has no column of labels", labelled=True)
    refused(tmp_path / "a.parquet", "has no column x", image_column="x")
    parquet.write_table(table, tmp_path / "b.parquet")
    refused(tmp_path / "*.parquet", "b.parquet has other columns than")
    refused(tmp_path / "b.parquet", "the column label is int64, neither encoded images nor paths", image_column="label")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-20])
    refused(tmp_path / "b.parquet", "b.parquet cannot be read")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    refused(tmp_path / "a.parquet", "read by pyarrow, which is not installed: pip install pyarrow")


def test_a_parquet_file_of_paths_is_a_list(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    stored.folder(tmp_path)
    parquet.write_table(pa.table({"path": list(stored.files()), "class": list("aabbbb")}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.labels == (0, 0, 1, 1, 1, 1) and np.array_equal(source.read_pixels(4), stored.pixels()[4])


def test_a_saved_data_set_that_is_damaged_or_of_several_splits_is_told(tmp_path):
    pytest.importorskip("pyarrow")
    root = stored.WAYS["saved"](tmp_path)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    refused(tmp_path, "holds the splits train, test: give one")
    file = root / "data-1.arrow"
    file.write_bytes(file.read_bytes()[:300])
    refused(root, "data-1.arrow cannot be read")
    (root / "state.json").write_text("[]")
    refused(root, "state.json is not the state of a data set")
