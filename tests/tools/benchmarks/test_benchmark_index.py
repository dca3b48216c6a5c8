"""The index benchmark lists generated files and a given folder in each of its ways, and says what each holds."""

from __future__ import annotations

import json

import pytest

from helpers import stored
from pretrain.data.sources import open_source
from tools.benchmark import main
from tools.benchmarks.measure import index


def test_generated_files_are_as_many_as_asked_in_class_folders(tmp_path):
    index.generate(tmp_path, 1203)
    source = open_source(tmp_path)
    assert (len(source), len(source.classes)) == (1203, index.CLASSES)


@pytest.mark.slow
def test_each_way_of_listing_has_a_row(tmp_path, capsys):
    main(["index", str(stored.folder(tmp_path / "set")), "--repeats", "1", "--json", str(tmp_path / "out.json")])
    rows = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [row["who"] for row in rows] == ["here, first", "here, a later start", "torchvision.ImageFolder"]
    shown = capsys.readouterr().out
    assert all(row["who"] in shown and row["seconds"]["median"] >= 0 for row in rows)
