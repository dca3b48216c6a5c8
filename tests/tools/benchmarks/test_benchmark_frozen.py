"""The benchmarks of frozen features: what is timed is right, and both sides of a ratio do the same work."""

from __future__ import annotations

import json

import pytest
import torch

from pretrain.runtime.errors import UserError
from tools import benchmark
from tools.benchmarks.measure import knn as knn_cost
from transfer.classifiers import knn


def test_knn_is_printed_beside_the_product_with_its_memory(tmp_path, capsys):
    options = ["--queries", "20", "--bank", "300", "--width", "8", "--repeats", "2", "--json", f"{tmp_path}/out.json"]
    benchmark.main(["knn", *options])
    (cost,) = json.loads((tmp_path / "out.json").read_text())["results"]
    assert cost["speed"]["repeats"] == 2 and cost["peak_gib"] > 0.05
    said = capsys.readouterr().out
    assert "PASS  cosines of the k nearest" in said and "20 queries x 300 rows x 8" in said


def test_a_search_that_finds_others_gets_no_speed(monkeypatch, capsys):
    right = knn.nearest
    monkeypatch.setattr(knn, "nearest", lambda bank, queries, k: [part.flip(1) for part in right(bank, queries, k)])
    with pytest.raises(SystemExit) as left:
        benchmark.main(["knn", "--queries", "20", "--bank", "300", "--width", "8", "--repeats", "1"])
    assert left.value.code not in (0, None) and "s; speed" not in capsys.readouterr().out


def test_the_product_multiplies_every_query_with_every_row(monkeypatch):
    sizes = []
    monkeypatch.setattr(knn, "QUERIES", 4), monkeypatch.setattr(knn, "BANK", 5)
    monkeypatch.setattr(torch, "mm", lambda one, other, out: sizes.append(out.shape[0] * out.shape[1]))
    knn_cost.plain_product(torch.zeros(10, 3), 17)
    assert sum(sizes) == 170


def test_a_race_is_printed_beside_one_setting(tmp_path, capsys):
    benchmark.main(["probe", "--rows", "600", "--width", "8", "--classes", "3", "--epochs", "2", "--repeats", "1"])
    assert "12 settings" in capsys.readouterr().out


def test_a_bank_smaller_than_k_is_told():
    with pytest.raises(UserError, match="k=200 neighbours"):
        knn_cost.measure(10, 100, 4, 1, torch.device("cpu"))
