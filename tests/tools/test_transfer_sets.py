"""tools/prepare_data.py transfer: where files come from, what is unpacked, and what is counted."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.archive_files import a_tar
from helpers.public_layouts import LAYOUTS
from pretrain.runtime.errors import UserError
from tools import prepare_data
from transfer.datasets.benchmark import Remote
from transfer.datasets.benchmarks import benchmarks, find_benchmark


def test_every_absent_set_says_where_its_files_come_from(tmp_path, capsys):
    """torchvision's own addresses and checksums, for each set that it downloads by itself."""
    from torchvision import datasets

    prepare_data.main(["transfer", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.count("not there, expected in") == len(benchmarks()) - 1  # but for the user's own folders
    for known in (datasets.Food101, datasets.DTD):
        assert f"fetch {known._URL} into {tmp_path} (md5 {known._MD5})" in said
    for url, md5 in datasets.OxfordIIITPet._RESOURCES:
        assert f"fetch {url} into {tmp_path} (md5 {md5})" in said
    assert f"{datasets.CIFAR100.url} into {tmp_path} (md5 {datasets.CIFAR100.tgz_md5})" in said
    with pytest.raises(UserError, match="DTD below .* cannot be used"):
        prepare_data.main(["transfer", str(tmp_path), "--sets", "dtd"])


def test_a_fetched_archive_is_verified_unpacked_and_counted(tmp_path, monkeypatch, capsys):
    LAYOUTS["dtd"](tmp_path / "made", monkeypatch)
    made = tmp_path / "made/dtd"
    files = {path.relative_to(made).as_posix(): path.read_bytes() for path in made.rglob("*.*")}
    archive = a_tar(tmp_path / "dtd-r1.0.1.tar", files)
    digest = f"md5:{hashlib.md5(archive.read_bytes()).hexdigest()}"
    remote = Remote(f"https://example.org/{archive.name}", digest, lambda name: f"dtd/{name}")
    known = find_benchmark("dtd")
    small = replace(known, counts={"train": 4, "val": 4, "test": 4}, classes=2, files=lambda: (remote,))
    monkeypatch.setitem(benchmarks(), "dtd", small)
    root = tmp_path / "root"
    prepare_data.main(["transfer", str(root), "--sets", "dtd", "--archives", str(tmp_path)])
    assert "DTD (dtd): complete, 2 classes, 4 train, 4 val, 4 test" in capsys.readouterr().out
    monkeypatch.setitem(benchmarks(), "dtd", replace(small, files=lambda: (replace(remote, digest="md5:" + "0" * 32),)))
    with pytest.raises(UserError, match="has the md5 .*, not 0{32} as published"):
        prepare_data.main(["transfer", str(tmp_path / "other"), "--sets", "dtd", "--archives", str(tmp_path)])
    assert not Path(tmp_path / "other/dtd").exists()
