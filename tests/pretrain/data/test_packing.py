"""A packed set is a drop-in for its folder; packing survives every interruption and says what goes wrong."""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.official_views import OFFICIAL
from helpers.repository import ROOT
from helpers.textured import texture
from pretrain.augment.multicrop import MultiCrop
from pretrain.data.decode import UnreadableImage
from pretrain.data.loader import ViewDataset
from pretrain.data.pack import JOURNAL
from pretrain.data.packed import BLOB, INDEX
from pretrain.data.sources import open_source
from pretrain.runtime.errors import UserError
from tools.prepare_data import main
from transfer.datasets.labelled import open_pair
from transfer.datasets.subsets import from_list


@pytest.fixture
def folder(tmp_path):
    """Two classes of three: JPEGs with a short side of 60 and of 30 pixels, and a PNG."""
    for seed, name in enumerate(("ant", "bee")):
        (tmp_path / "set" / name).mkdir(parents=True)
        texture(80, 60, seed).save(tmp_path / "set" / name / f"{name}_0.jpg", quality=95)
        texture(30, 44, seed + 2).save(tmp_path / "set" / name / f"{name}_1.JPEG", quality=95)
        texture(35, 31, seed + 4).save(tmp_path / "set" / name / f"{name}_2.png")
    return tmp_path / "set"


def pack(source, out, *words):
    main(["pack", str(source), str(out), "--short-side", "40", "--workers", "1", *words])
    return open_source(out)


def same_bytes(first, second):
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in (BLOB, INDEX))


def test_names_classes_and_labels_are_kept_and_small_files_byte_for_byte(folder, tmp_path):
    files, packed = open_source(folder), pack(folder, tmp_path / "packed")
    assert (packed.classes, packed.labels) == (files.classes, files.labels)
    names = [path.relative_to(files.root) for path in files.paths]
    assert [path.relative_to(packed.root) for path in packed.paths] == names
    for index, path in enumerate(files.paths):
        if path.name.endswith("_0.jpg"):
            assert packed.read_pixels(index).shape == (40, 53, 3)
            near = np.asarray(
                Image.fromarray(files.read_pixels(index)).resize((53, 40), Image.Resampling.BICUBIC), dtype=int
            )
            assert np.abs(packed.read_pixels(index) - near).mean() < 8
        else:
            assert packed.store.read_bytes(index) == path.read_bytes()


def test_views_of_a_packed_set_are_those_of_its_folder(folder, tmp_path):
    files, packed = open_source(folder), pack(folder, tmp_path / "packed", "--short-side", "0")
    for index in range(len(files)):
        first, second = (ViewDataset(source, MultiCrop(**OFFICIAL), 0)[0, index][0] for source in (files, packed))
        assert torch.equal(first.crops[0], second.crops[0])


def test_uncompressed_every_image_is_kept_pixel_for_pixel(folder, tmp_path):
    files, packed = open_source(folder), pack(folder, tmp_path / "packed", "--quality", "0", "--short-side", "0")
    for index in range(len(files)):
        assert packed.store.read_bytes(index).startswith(b"P6")
        assert np.array_equal(packed.read_pixels(index), files.read_pixels(index))
    resized = pack(folder, tmp_path / "resized", "--quality", "0")
    near = Image.fromarray(files.read_pixels(0)).resize((53, 40), Image.Resampling.BICUBIC)
    assert np.array_equal(resized.read_pixels(0), np.asarray(near))


def test_a_flat_folder_packs_into_a_set_without_labels(folder, tmp_path):
    packed = pack(folder / "ant", tmp_path / "packed")
    assert (len(packed), packed.labels, packed.classes) == (3, None, ())


def test_evaluation_takes_packed_sets_and_lists_of_their_images(folder, tmp_path):
    pack(folder, tmp_path / "packed")
    train, val = open_pair(tmp_path / "packed", folder)
    assert train.labels == val.labels
    (tmp_path / "list.txt").write_text("bee_2.JPEG\nant_1.JPEG\n")
    subset = from_list(train, tmp_path / "list.txt").source
    assert [path.name for path in subset.paths] == ["ant_1.JPEG", "bee_2.png"]
    assert np.array_equal(subset.read_pixels(1), val.read_pixels(5))


def test_workers_that_are_not_forked_read_the_set_too(folder, tmp_path):
    packed = pack(folder, tmp_path / "packed")
    expected = packed.read_pixels(2)
    sent = pickle.dumps(packed)
    assert len(sent) < 5000 and np.array_equal(pickle.loads(sent).read_pixels(2), expected)


def test_several_processes_pack_the_same_bytes(folder, tmp_path):
    pack(folder, tmp_path / "one")
    pack(folder, tmp_path / "two", "--workers", "2")
    assert same_bytes(tmp_path / "one", tmp_path / "two")


def test_a_flipped_byte_is_skipped_counted_and_named(folder, tmp_path):
    packed = pack(folder, tmp_path / "packed")
    data = bytearray((tmp_path / "packed" / BLOB).read_bytes())
    data[int(packed.store.offsets[3]) + 200] ^= 1
    (tmp_path / "packed" / BLOB).write_bytes(data)
    packed = open_source(tmp_path / "packed")
    with pytest.raises(UnreadableImage, match=r"bee_0\.jpg .its bytes in images.blob have changed"):
        packed.read_pixels(3)
    _, unreadable, _ = ViewDataset(packed, MultiCrop(**OFFICIAL), 0)[0, 3]
    assert len(unreadable) == 1 and "bee_0.jpg" in unreadable[0]


@pytest.mark.parametrize("file", [BLOB, INDEX])
def test_a_set_cut_short_is_told(folder, tmp_path, file):
    pack(folder, tmp_path / "packed")
    path = tmp_path / "packed" / file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{file} .*pack the images again"):
        open_source(tmp_path / "packed")


@pytest.mark.parametrize(
    ("header", "columns", "told"),
    [
        ([], {}, "cannot be read"),
        ({"format": "unigrad-packed-1"}, {}, "cannot be read"),
        ({"classes": ["ant", 7]}, {}, "its classes do not fit"),
        ({"format": "another"}, {}, "is of format another"),
        ({}, {"names": ["../x", *"bcdef"]}, "its names do not fit"),
        ({}, {"names": ["a\n", "/b", *"cdef"]}, "its names do not fit"),
        ({}, {"names": list("aacdef")}, "its names do not fit"),
        ({}, {"names": list("abc")}, "its labels and offsets and checksums do not fit"),
        ({}, {"labels": [0, 1, 2, 0, 0, 0]}, "its labels do not fit"),
        ({}, {"labels": [-1] * 6}, "its labels do not fit"),
        ({}, {"offsets": [0, 9, 5, 20, 30, 40, 50]}, "its offsets do not fit"),
        ({}, {"checksums": [0.5] * 6}, "its checksums do not fit"),
    ],
)
def test_an_index_whose_parts_do_not_fit_together_is_one_sentence(folder, tmp_path, header, columns, told):
    root = pack(folder, tmp_path / "packed").root
    with np.load(root / INDEX) as file:
        held = {name: file[name] for name in file.files}
    whole = json.loads(held["header"].tobytes())
    changed = {name: np.array(value) for name, value in columns.items()}
    if "names" in columns:
        changed["names"] = np.frombuffer("\0".join(columns["names"]).encode(), np.uint8)
    text = json.dumps(whole | header if isinstance(header, dict) and "format" not in header else header).encode()
    np.savez(root / INDEX, **held | {"header": np.frombuffer(text, np.uint8)} | changed)
    with pytest.raises(UserError, match=f"{INDEX} .*{told}.*pack the images again") as caught:
        open_source(root)
    assert str(caught.value).isprintable()


def test_a_compressed_index_which_could_unpack_to_anything_is_refused(folder, tmp_path):
    root = pack(folder, tmp_path / "packed").root
    with np.load(root / INDEX) as file:
        np.savez_compressed(root / INDEX, **file)
    with pytest.raises(UserError, match="compressed, as no index is"):
        open_source(root)


def test_unreadable_images_are_left_out_counted_and_named(folder, tmp_path, capsys):
    (folder / "ant" / "ant_1.JPEG").write_bytes(b"\xff\xd8\xff no image")
    packed = pack(folder, tmp_path / "packed")
    told = capsys.readouterr()
    assert "packed 5 images" in told.out and "skipped 1 unreadable" in told.out
    assert told.err.count("skipped an unreadable image") == 1 and "ant_1.JPEG" in told.err
    assert len(packed) == 5 and "ant_1.JPEG" in packed.store.header["skipped"][0]


def interrupted(folder, out, images):
    """Pack in a process that dies, by its own signal 9, once `images` images are on disk."""
    script = f"""
import os, signal, sys
from pretrain.data import pack as packing
packing.AT_ONCE = 1
written = packing._to_disk
def dies(file):
    written(file)
    dies.times += 1
    if dies.times > 2 * {images}:  # the next blob is written, its entry is not
        os.kill(os.getpid(), signal.SIGKILL)
dies.times = 0
packing._to_disk = dies
packing.pack(packing.Path({str(folder)!r}), packing.Path({str(out)!r}), 40, 90, 1)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    assert not out.exists()
    return out.with_name(f".{out.name}.part")


def leave(part):
    pass


def cut_journal(part):
    (part / JOURNAL).write_bytes((part / JOURNAL).read_bytes()[:-7])


def cut_blob(part):
    (part / BLOB).write_bytes((part / BLOB).read_bytes()[:-3000])


def spoil_blob(part):
    data = bytearray((part / BLOB).read_bytes())
    data[50] ^= 255
    (part / BLOB).write_bytes(data)


def lose_journal(part):
    (part / JOURNAL).unlink()


@pytest.mark.parametrize("damage", [leave, cut_journal, cut_blob, spoil_blob, lose_journal])
def test_an_interrupted_pack_goes_on_and_ends_in_the_same_bytes(folder, tmp_path, damage):
    pack(folder, tmp_path / "whole")
    part = interrupted(folder, tmp_path / "packed", 3)
    assert len((part / JOURNAL).read_text().splitlines()) == 3
    damage(part)
    pack(folder, tmp_path / "packed")
    assert same_bytes(tmp_path / "whole", tmp_path / "packed")
    assert not part.exists()


def test_a_resumed_pack_does_not_read_again_what_it_has(folder, tmp_path):
    interrupted(folder, tmp_path / "packed", 3)
    times = (folder / "ant" / "ant_0.jpg").stat()
    (folder / "ant" / "ant_0.jpg").write_bytes(b"x" * times.st_size)  # what was packed is not looked at again
    os.utime(folder / "ant" / "ant_0.jpg", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(pack(folder, tmp_path / "packed")) == 6


def test_a_full_disk_is_told_and_packing_goes_on_afterwards(folder, tmp_path):
    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    command = [sys.executable, str(ROOT / "tools" / "prepare_data.py"), "pack", str(folder), str(tmp_path / "packed")]
    command += ["--short-side", "40", "--workers", "1"]
    told = subprocess.run(command, capture_output=True, text=True, preexec_fn=little_room)
    assert told.returncode == 2 and "Traceback" not in told.stderr
    assert told.stderr.count("error: ") == 1 and "no room is left" in told.stderr
    assert not (tmp_path / "packed").exists()
    assert len(pack(folder, tmp_path / "packed")) == 6


def test_a_whole_set_is_left_as_it_is_and_a_changed_source_is_told(folder, tmp_path, capsys):
    pack(folder, tmp_path / "packed")
    before = (tmp_path / "packed" / INDEX).stat().st_mtime_ns
    pack(folder, tmp_path / "packed")
    assert "left as they are" in capsys.readouterr().out
    assert (tmp_path / "packed" / INDEX).stat().st_mtime_ns == before
    texture(30, 30, 9).save(folder / "ant" / "new.png")
    with pytest.raises(UserError, match="has changed since .* was packed from it"):
        pack(folder, tmp_path / "packed")


def test_a_source_that_changed_between_two_parts_of_a_pack_is_told(folder, tmp_path):
    interrupted(folder, tmp_path / "packed", 2)
    (folder / "bee" / "bee_2.png").unlink()
    with pytest.raises(UserError, match="changed since.*remove it"):
        pack(folder, tmp_path / "packed")


def test_other_options_other_files_and_nothing_to_pack_are_told(folder, tmp_path):
    pack(folder, tmp_path / "packed")
    with pytest.raises(UserError, match="other options"):
        pack(folder, tmp_path / "packed", "--quality", "80")
    with pytest.raises(UserError, match="already holds other files"):
        pack(folder, folder)
    with pytest.raises(UserError, match="packed set already"):
        pack(tmp_path / "packed", tmp_path / "again")
    with pytest.raises(UserError, match="--quality 96 is above 95"):
        pack(folder, tmp_path / "x", "--quality", "96")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="can be decoded"):
        pack(tmp_path / "bad", tmp_path / "y")
