"""The data benchmark shows speeds of views that agree with the official ones, and refuses to where they do not."""

from __future__ import annotations

import json

import pytest

from helpers.textured import write_folder
from pretrain.augment import color
from pretrain.runtime.errors import UserError
from tools.benchmark import main
from tools.benchmarks.reference import checks

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "set", 2, (120, 90))


@pytest.mark.filterwarnings("ignore")  # other libraries warn while they are imported
def test_costs_of_files_and_of_a_packed_set_stand_beside_the_official_ones(folder, tmp_path, capsys):
    from tools.prepare_data import main as prepare

    prepare(["pack", str(folder), str(tmp_path / "packed"), "--workers", "1"])
    for root in (folder, tmp_path / "packed"):
        main(["data", str(root), "--repeats", "1", "--json", str(tmp_path / "out.json")])
        told = json.loads((tmp_path / "out.json").read_text())
        assert told["environment"]["images"] == 2
        for row in told["results"]:
            assert (row["ratio"] is None) == row["part"].startswith("official")
        shown = capsys.readouterr().out
        assert all(name in shown for name in ("lightly", "albumentations"))  # a row each, or told to be absent
        assert "FAIL" not in shown and shown.count("PASS") == len(told["environment"]["checks"]) == 6


@pytest.mark.parametrize("task", ["data", "loader"])
def test_a_wrong_operation_withholds_the_speed(task, folder, monkeypatch, capsys):
    """A blur that does nothing stands for a defect of ours."""
    files = [path.read_bytes() for path in sorted(folder.glob("[01].jpg"))]
    assert all(check.passed for check in checks.pixels(files))
    monkeypatch.setattr(color, "blur", lambda images, sigma: images)
    with pytest.raises(SystemExit) as left:
        main([task, str(folder)])
    assert left.value.code not in (0, None)
    shown = capsys.readouterr().out
    assert "FAIL  pixels of a view" in shown and "images/s" not in shown


def test_a_folder_without_a_readable_image_is_told(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match="can be decoded"):
        main(["data", str(tmp_path)])
