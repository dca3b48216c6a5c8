"""The kept listing of a folder is what a walk finds, and holds for as long as the walk would find the same."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from helpers import stored
from pretrain.data.folders.listing import listed
from pretrain.data.folders.walk import walk

ENDINGS = frozenset({".png", ".jpg"})


@pytest.fixture
def folder(tmp_path):
    """Classes, a folder that a link leads to, one without images, hidden files and a name that is not UTF-8."""
    root = stored.folder(tmp_path / "set")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.png").touch()
    (root / "cat").symlink_to(tmp_path / "elsewhere")
    (root / "empty" / "below").mkdir(parents=True)
    for name in (".DS_Store", "notes.txt", "caf\udce9.PNG"):
        (root / "ant" / name).touch()
    settle(tmp_path)
    return root


def settle(root):
    """As if the last change had been a minute ago."""
    for path, _, _ in os.walk(root, followlinks=True):
        at = os.stat(path).st_mtime_ns - 60 * 10**9
        os.utime(path, ns=(at, at))


def same(one, other):
    assert (one.images, one.empty, one.left_out, one.root) == (other.images, other.empty, other.left_out, other.root)
    assert one.images.folders == other.images.folders


def test_a_kept_listing_is_what_the_walk_finds_and_lies_in_the_file(folder, tmp_path, monkeypatch):
    first = listed(folder, ENDINGS, tmp_path / "kept", 1)
    (file,) = (tmp_path / "kept").iterdir()
    again = listed(folder, ENDINGS, tmp_path / "kept", 1)
    for tree in (first, again, pickle.loads(pickle.dumps(again))):
        same(tree, walk(folder, ENDINGS))
    assert not again.images.names.data.flags.owndata and not again.images.names.data.flags.writeable
    monkeypatch.chdir(folder)
    same(listed(type(folder)("."), ENDINGS, tmp_path / "kept", 1), walk(type(folder)("."), ENDINGS))
    assert [*(tmp_path / "kept").iterdir()] == [file]  # one for the folder, however it is spelled


CHANGES = {
    "a new image": lambda root: (root / "bee" / "new.png").touch(),
    "a new class": lambda root: (root / "dog").mkdir() or (root / "dog" / "1.png").touch(),
    "one less": lambda root: (root / "ant" / "00.png").unlink(),
    "another name": lambda root: (root / "ant" / "00.png").rename(root / "ant" / "zz.png"),
    "a class less": lambda root: shutil.rmtree(root / "bee"),
    "an image where a link leads": lambda root: (root / "cat" / "near.png").touch(),
    "another link": lambda root: (root / "cat").unlink() or (root / "cat").symlink_to(root / "ant"),
    "an image below an empty folder": lambda root: (root / "empty" / "below" / "1.png").touch(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_folder_is_seen(folder, tmp_path, change):
    before = listed(folder, ENDINGS, tmp_path / "kept", 1)
    CHANGES[change](folder)
    after = listed(folder, ENDINGS, tmp_path / "kept", 1)
    same(after, walk(folder, ENDINGS))
    assert before.images != after.images


def test_a_folder_that_is_small_or_has_just_changed_is_not_kept_and_a_damaged_listing_is_done_without(folder, tmp_path):
    listed(folder, ENDINGS, tmp_path / "kept")
    (folder / "ant" / "just.png").touch()
    listed(folder, ENDINGS, tmp_path / "kept", 1)
    assert not (tmp_path / "kept").exists()
    settle(folder)
    listed(folder, ENDINGS, tmp_path / "kept", 1)
    (file,) = (tmp_path / "kept").iterdir()
    file.write_bytes(file.read_bytes()[:150])
    same(listed(folder, ENDINGS, tmp_path / "kept", 1), walk(folder, ENDINGS))
    (tmp_path / "file").touch()
    same(listed(folder, ENDINGS, tmp_path / "file" / "below", 1), walk(folder, ENDINGS))


def test_ranks_that_start_together_list_once_and_the_others_read_what_the_first_wrote(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    looked, go, scandir = [], threading.Barrier(4), os.scandir

    def slow(path):
        looked.append(path)
        time.sleep(0.05)  # as on a slow disk, so that the others come meanwhile
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slow)

    def rank(_):
        go.wait()
        return listed(folder, ENDINGS, tmp_path / "kept", 1)

    with ThreadPoolExecutor(4) as ranks:
        trees = list(ranks.map(rank, range(4)))
    assert looked.count(str(folder)) == 1
    for tree in trees:
        same(tree, walk(folder, ENDINGS))
        assert not tree.images.names.data.flags.owndata  # also in the rank that has listed: all map one file
    (folder / "ant" / "new.png").touch()  # just now, so that no listing can be kept
    with ThreadPoolExecutor(4) as ranks:
        assert all(len(tree.images) == len(trees[0].images) + 1 for tree in ranks.map(rank, range(4)))


def test_a_kept_listing_of_arrays_selects_and_reads_as_before(folder, tmp_path):
    listed(folder, ENDINGS, tmp_path / "kept", 1)
    images = listed(folder, ENDINGS, tmp_path / "kept", 1).images
    assert images.select([1, 0])[0] == images[1] and np.asarray(images.folder_of).dtype == np.int32
