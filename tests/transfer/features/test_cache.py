"""Features on disk equal those in memory, go on after an interruption, and leave nothing corrupt."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers import tool_process
from helpers.painted import paint
from helpers.repository import ROOT
from pretrain.data.sources import open_source
from pretrain.models.pixels import IMAGENET
from pretrain.runtime.errors import UserError
from transfer.features import cache
from transfer.features.extract import extract
from transfer.features.wanted import Wanted

CPU = torch.device("cpu")
SIZE = 8


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(cache, "PART", 5)


def wanted(root, sha256="0" * 64):
    return Wanted(sha256, open_source(root), 3 * SIZE * SIZE, SIZE, SIZE)


def cached(root, folder, network=nn.Flatten, sha256="0" * 64):
    return cache.features(folder, wanted(root, sha256), network, 2, 0, CPU)


def in_memory(root):
    return extract(nn.Flatten(), open_source(root), SIZE, SIZE, 2, 0, CPU, None)


def test_rows_of_bf16_are_kept_apart_from_those_of_fp32(tmp_path):
    root = paint(tmp_path / "set", 2)
    precise, coarse = wanted(root), dataclasses.replace(wanted(root), precision="bf16")
    assert "precision" not in precise.about()  # caches of earlier code hold fp32, and stay valid
    rows = [cache.features(tmp_path / "cache", each, nn.Flatten, 2, 0, CPU).rows[:] for each in (precise, coarse)]
    assert len(list((tmp_path / "cache").glob("*/index.json"))) == 2
    assert torch.equal(*rows)  # flattening computes nothing


def test_whole_images_that_are_squashed_are_kept_apart_from_crops(tmp_path):
    root = paint(tmp_path / "set", 2)  # 24 x 20 pixels
    crop, squashed = wanted(root), dataclasses.replace(wanted(root), resize=None)
    rows = [cache.features(tmp_path / "cache", each, nn.Flatten, 2, 0, CPU).rows[:] for each in (crop, squashed)]
    assert len(list((tmp_path / "cache").glob("*/index.json"))) == 2
    pictures = [Image.open(path).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for path in squashed.source.paths]
    scaled = (np.stack([np.asarray(one) for one in pictures]) / 255 - IMAGENET.mean) / IMAGENET.std
    assert rows[1].numpy() == pytest.approx(scaled.transpose(0, 3, 1, 2).reshape(len(pictures), -1), abs=1e-5)
    assert torch.equal(rows[1], extract(nn.Flatten(), squashed.source, SIZE, None, 2, 0, CPU, None).rows)
    assert not torch.equal(*rows)


class Stopping(nn.Module):
    """A network that is interrupted at its n-th batch."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return images.flatten(1)


def alike(one, other):
    return (
        torch.equal(one.rows[:], other.rows[:]) and torch.equal(one.labels, other.labels) and one.names == other.names
    )


def never():
    raise AssertionError("features that are there are made again")


def test_features_on_disk_are_those_in_memory_and_are_made_once(tmp_path, capsys):
    root = paint(tmp_path / "set", 4)
    first = cached(root, tmp_path / "cache")
    assert alike(first, in_memory(root))
    assert alike(cached(root, tmp_path / "cache", never), first)
    assert torch.equal(first.rows[torch.tensor([7, 2])], first.rows[:][[7, 2]])
    assert [len(part) for part in first.rows.split(5)] == [5, 5, 2]


def test_another_checkpoint_or_a_changed_image_or_size_is_another_folder(tmp_path):
    root = paint(tmp_path / "set", 2)
    cached(root, tmp_path / "cache")
    cached(root, tmp_path / "cache", sha256="1" * 64)
    image = root / "n01_red" / "n01_red_0.png"
    image.write_bytes((root / "n03_blue" / "n03_blue_0.png").read_bytes())
    assert alike(cached(root, tmp_path / "cache"), in_memory(root))
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize("after", [1, 4, 6])
def test_interrupted_caching_goes_on_where_whole_parts_end(tmp_path, after, capsys):
    root = paint(tmp_path / "set", 4)
    with pytest.raises(KeyboardInterrupt):
        cached(root, tmp_path / "cache", lambda: Stopping(after))
    assert not list(tmp_path.rglob("index.json"))
    whole = after // 3  # batches of 2, 2 and 1 image make a part of 5
    assert len(list(tmp_path.rglob("part-*.json"))) == whole
    assert bool(list(tmp_path.rglob("rows.part"))) == bool(whole)
    again = Stopping(7 - 3 * whole)  # no more batches than are missing
    assert alike(cached(root, tmp_path / "cache", lambda: again), in_memory(root))
    assert sorted(path.name for path in next((tmp_path / "cache").iterdir()).iterdir()) == ["index.json", "rows.f32"]


@pytest.mark.parametrize("images", [1, 32, 33, 56, 654, 795, 9469, 1_281_167])
def test_the_parts_of_a_set_hold_each_image_once_and_give_ranks_like_shares(monkeypatch, images):
    monkeypatch.undo()  # of small_parts
    parts = cache.parts_of(images)
    assert [place for part in parts for place in part] == list(range(images))
    assert len(parts) >= min(16, images // 32) and max(map(len, parts)) <= 1024
    shares = [sum(map(len, parts[rank::2])) for rank in range(2)]
    assert abs(shares[0] - shares[1]) <= len(parts[0])


def test_parts_of_another_division_are_made_anew(tmp_path):
    """Earlier code named its parts by their number alone."""
    root = paint(tmp_path / "set", 4)
    cached(root, tmp_path / "cache")
    (place,) = (tmp_path / "cache").iterdir()
    for path in place.iterdir():
        path.unlink()
    (place / "rows.part").write_bytes(bytes(12 * 3 * SIZE * SIZE * 4))
    (place / "part-000000.json").write_text(json.dumps({"kept": 12, "crc": 0, "skipped": [], "seconds": 0}))
    assert alike(cached(root, tmp_path / "cache"), in_memory(root))
    assert sorted(path.name for path in place.iterdir()) == ["index.json", "rows.f32"]


SEEN = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


def script(folder, code, *arguments):
    """The command that runs `code` with these arguments and this module's folder."""
    (folder / "script.py").write_text(code)
    return [sys.executable, folder / "script.py", *arguments, Path(__file__).parent]


class Slow(nn.Flatten):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.2)
        return super().forward(images)


def test_ctrl_c_ends_in_one_sentence_and_loses_no_whole_part(tmp_path):
    """The terminal sends it to the tool and to its loaders' processes alike."""
    root, folder = paint(tmp_path / "set", 8), tmp_path / "cache"
    code = (
        "import sys; sys.path[:0] = [sys.argv[3]]; from pathlib import Path; import test_cache as t\n"
        "from pretrain.runtime.errors import run_tool; t.cache.PART = 5; root, folder = map(Path, sys.argv[1:3])\n"
        "run_tool(lambda: t.cache.features(folder, t.wanted(root), t.Slow, 2, 2, t.CPU))"
    )
    with tool_process.started(script(tmp_path, code, root, folder), SEEN, apart=True) as tool:
        deadline = time.monotonic() + 120
        while not list(folder.rglob("part-*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(tool.pid, signal.SIGINT)
        done = tool.end(60)
    told = done.stderr
    assert done.returncode == 130 and told.count("\n") == 1 and "the same command uses it again" in told, told
    assert not list(folder.rglob("index.json"))
    assert alike(cached(root, folder, lambda: Stopping(11)), in_memory(root))  # of 14 batches, 3 for the first part


def test_unreadable_images_leave_no_gap(tmp_path):
    root = paint(tmp_path / "set", 4)
    for name in ("n01_red_1", "n02_green_0", "n03_blue_3"):
        (root / name.rpartition("_")[0] / f"{name}.png").write_bytes(b"no image")
    first = cached(root, tmp_path / "cache")
    assert alike(first, in_memory(root)) and alike(cached(root, tmp_path / "cache", never), first)
    assert len(first.skipped) == 3 and "n01_red_1" in first.skipped[0]


def test_a_link_to_nowhere_is_an_unreadable_image(tmp_path):
    root = paint(tmp_path / "set", 2)
    (root / "n01_red" / "n01_red_1.png").unlink()
    (root / "n01_red" / "n01_red_1.png").symlink_to(tmp_path / "nowhere.png")
    found = cached(root, tmp_path / "cache")
    assert alike(found, in_memory(root)) and len(found.skipped) == 1


def test_a_second_evaluation_waits_for_the_features_that_another_makes(tmp_path):
    root, folder = paint(tmp_path / "set", 4), tmp_path / "cache"
    other = os.fork()
    if not other:
        os._exit(cached(root, folder, Slow).rows.shape != (12, 3 * SIZE * SIZE))
    while not list(folder.rglob("part-*.json")):
        time.sleep(0.02)
    assert alike(cached(root, folder, never), in_memory(root))
    assert os.waitpid(other, 0)[1] == 0
    assert len(list(folder.iterdir())) == 1  # no lock is left


def test_features_that_are_not_finite_are_refused_and_not_kept(tmp_path):
    class Broken(nn.Flatten):
        def forward(self, images):
            return super().forward(images) / 0

    root = paint(tmp_path / "set", 2)
    with pytest.raises(UserError, match=r"not finite, first those of n01_red/n01_red_0\.png"):
        cached(root, tmp_path / "cache", Broken)
    assert not list((tmp_path / "cache").iterdir())


def test_damaged_rows_are_told(tmp_path):
    root = paint(tmp_path / "set", 2)
    cached(root, tmp_path / "cache")
    (rows,) = tmp_path.rglob("rows.f32")
    content = bytearray(rows.read_bytes())
    content[100] ^= 1
    rows.write_bytes(content)
    with pytest.raises(UserError, match=r"rows\.f32 is damaged .*: delete"):
        cached(root, tmp_path / "cache")


@pytest.mark.parametrize(
    "change", ["{", "[]", {"parts": [[5, 1]]}, {"parts": [["x", 1]]}, {"skipped": [[9, "a"]]}, {"seconds": []}]
)
def test_a_damaged_index_is_told(tmp_path, change):
    root = paint(tmp_path / "set", 2)
    cached(root, tmp_path / "cache")
    (index,) = tmp_path.rglob("index.json")
    index.write_text(change if isinstance(change, str) else json.dumps(json.loads(index.read_text()) | change))
    with pytest.raises(UserError, match=r"index\.json is damaged: delete"):
        cached(root, tmp_path / "cache")


def test_a_full_disk_is_one_sentence_before_any_image_is_read(tmp_path):
    """The kernel's limit on a file's size stands for the end of the disk: both are an OSError of the same calls."""
    root = paint(tmp_path / "set", 2)
    code = (
        "import sys; sys.path[:0] = [sys.argv[3]]; from pathlib import Path; import resource, signal, test_cache\n"
        "from pretrain.runtime.errors import run_tool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "run_tool(lambda: test_cache.cached(Path(sys.argv[1]), Path(sys.argv[2]), test_cache.never))"
    )
    done = tool_process.run(script(tmp_path, code, root, tmp_path / "cache"), SEEN)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "features cannot be written" in done.stderr and "make room" in done.stderr
    assert not list((tmp_path / "cache").iterdir())
