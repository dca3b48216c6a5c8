"""Packed images on a node's own disk: copied once, checked against their checksums, never used where they are wrong."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from helpers.tiny_runs import configure, write_images
from pretrain.data.decode import UnreadableImage
from pretrain.data.packed import BLOB
from pretrain.data.site import staging
from pretrain.data.sources import ImageSource, Reading, open_source
from pretrain.runtime.errors import UserError
from pretrain.train import train
from tools.prepare_data import main

told: list[str] = []


@pytest.fixture
def packed(tmp_path: Path) -> ImageSource:
    told.clear()
    (tmp_path / "images").mkdir()
    write_images(tmp_path / "images")
    main(["pack", str(tmp_path / "images"), str(tmp_path / "packed"), "--short-side", "0", "--workers", "1"])
    return open_source(tmp_path / "packed")


def staged(source: ImageSource, scratch: Path) -> ImageSource:
    return staging.staged(source, scratch, told.append)


def test_ranks_of_a_node_share_one_copy(packed: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Path] = []
    real = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda *names: (copies.append(names[1]), real(*names)))
    found: list[ImageSource] = []
    ranks = [threading.Thread(target=lambda: found.append(staged(packed, tmp_path / "disk/mine"))) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    expected = [packed.read_bytes(index) for index in range(len(packed))]
    (tmp_path / "packed" / BLOB).write_bytes(b"")  # the shared folder is no longer read
    for source in found:
        assert [source.read_bytes(index) for index in range(len(source))] == expected
        assert [source.key(index) for index in range(len(source))] == [packed.key(index) for index in range(20)]
    assert len(found) == 3 and len(copies) == 1
    assert [path.name[:8] for path in (tmp_path / "disk/mine").iterdir() if path.is_dir()] == ["unigrad-"]


def test_a_wrong_copy_is_never_used_and_a_damaged_set_stays_as_it_is(
    packed: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.copyfile

    def losing(source: Path, copy: Path) -> None:
        real(source, copy)
        copy.write_bytes(bytes([copy.read_bytes()[0] ^ 1]) + copy.read_bytes()[1:])

    with monkeypatch.context() as broken:
        broken.setattr(shutil, "copyfile", losing)
        with pytest.raises(UserError, match="00.png is damaged in the copy of .* whole where it came from"):
            staged(packed, tmp_path / "disk")
    assert not list((tmp_path / "disk").glob("unigrad-*"))
    blob = tmp_path / "packed" / BLOB
    blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])
    copy = staged(open_source(tmp_path / "packed"), tmp_path / "disk")
    with pytest.raises(UnreadableImage, match="00.png"):  # training passes it over
        copy.read_bytes(0)
    assert copy.read_bytes(1)


def test_what_cannot_be_copied_is_told_before_the_first_step(
    packed: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be copied to .*file"):
        staged(packed, tmp_path / "file/below")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match="has 0.0 GB free, and the packed images take"):
        staged(packed, tmp_path / "disk")
    assert not list((tmp_path / "disk").glob("*unigrad-*[!k]"))
    assert staged(open_source(tmp_path / "images"), tmp_path / "disk").store is None
    assert "is no packed set" in told[0]
    monkeypatch.setenv("UNIGRAD_SCRATCH", "$DISK/a")
    with pytest.raises(UserError, match="sets no variable DISK"):
        staging.scratch_folder("")
    monkeypatch.setenv("DISK", "/disk")
    assert staging.scratch_folder("") == Path("/disk/a") and staging.scratch_folder("/b") == Path("/b")


def test_of_several_roots_those_that_are_packed_are_copied(packed: ImageSource, tmp_path: Path) -> None:
    source = open_source(f"[{tmp_path}/packed,{tmp_path}/images]", reading=Reading(weights=(0.5, 0.5)))
    copy = staged(source, tmp_path / "disk")
    assert [copy.read_bytes(index) for index in range(40)] == [source.read_bytes(index) for index in range(40)]
    assert copy.store.sources[0].store.root.parent == tmp_path / "disk" and copy.mixture is source.mixture


@pytest.mark.slow
def test_a_run_learns_from_the_copy(packed: ImageSource, tmp_path: Path) -> None:
    copy = staged(packed, tmp_path / "disk").store.root
    (copy / BLOB).unlink()
    (copy / BLOB).write_bytes(bytes(packed.store.offsets[-1]))  # of the right length, and of no image
    words = ["optim.epochs=1", "optim.warmup_epochs=0", f"data.scratch={tmp_path}/disk"]
    with pytest.raises(UserError, match=f"can be decoded, for example {copy}"):
        train(configure(tmp_path / "packed", tmp_path / "run", *words))
