"""The benchmark of the losses: what it compares with is the official code, and no speed without equal gradients."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from helpers.repository import ROOT
from pretrain.runtime.errors import run_tool
from tools import benchmark
from tools.benchmarks.measure import loss as loss_cost
from tools.benchmarks.reference import equivalence, losses

GOLDEN = ROOT / "tests" / "data" / "official_losses.npz"
SETTINGS = {  # of the golden file
    "loss_unigrad": lambda: losses.UniGrad(100.0, 0.99),
    "loss_simclr_grad_mm": lambda: losses.SimCLR(0.2),
    "loss_byol_directpred_grad": lambda: losses.DirectPred(0.3, 0.99),
    "loss_barlow_twins_grad_mm": lambda: losses.BarlowTwins(50.0),
}
TINY = ["loss", "--device", "cpu", "--widths", "16", "--rows-per-rank", "4", "--repeats", "3"]
SIZE = loss_cost.Size(16, 4, torch.device("cpu"))


def quiet(_: str) -> None:
    pass


@pytest.mark.parametrize("name", SETTINGS)
def test_reformulations_equal_the_official_code(name):
    golden = np.load(GOLDEN)
    loss = SETTINGS[name]()
    for step in range(3):
        z1, z2, z1m, z2m, g1, g2, value, cosine = (
            torch.from_numpy(golden[f"{name}/{step}/{key}"])
            for key in ("z1", "z2", "z1m", "z2m", "g1", "g2", "loss", "possim")
        )
        z1.requires_grad_(), z2.requires_grad_()
        ours, similarity = loss((z1, z2), (z1m, z2m))
        ours.backward()
        for got, expected in ((z1.grad, g1), (z2.grad, g2), (ours.detach(), value), (similarity, cosine)):
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
        if f"{name}/{step}/F" in golden:
            torch.testing.assert_close(loss.corr, torch.from_numpy(golden[f"{name}/{step}/F"]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", equivalence.OFFICIAL)
def test_rows_of_the_table_equal_what_they_are_timed_against(name):
    assert equivalence.small_difference(name, equivalence.OFFICIAL[name]) < 1e-12


@pytest.mark.parametrize(
    "broken",
    [
        lambda balance: losses.UniGrad(balance * 1.01),
        lambda balance: losses.UniGrad(balance, rho=0.98),
        lambda balance: losses.UniGrad(float("nan")),
    ],
    ids=["other balance", "other rho", "not finite"],
)
def test_no_speed_beside_another_formulation(broken):
    first, other = loss_cost.measure(["unigrad", "simclr"], SIZE, 1, 16, quiet, {"unigrad": broken})
    assert first.refused and first.seconds is None and first.official is None and first.ratio is None
    assert "no speed" in loss_cost.line(first)
    assert not other.refused and other.seconds is not None


def test_a_withheld_speed_ends_in_exit_code_1(monkeypatch, capsys):
    monkeypatch.setitem(equivalence.OFFICIAL, "unigrad", lambda balance: losses.UniGrad(2 * balance))
    with pytest.raises(SystemExit) as left:
        benchmark.main([*TINY, "--only", "unigrad"])
    assert left.value.code not in (0, None)
    assert "no speed: the gradients differ" in capsys.readouterr().out


def test_all_rows_are_printed_and_written(tmp_path, capsys):
    benchmark.main([*TINY, "--json", str(tmp_path / "deep" / "loss.json")])
    written = json.loads((tmp_path / "deep" / "loss.json").read_text())
    rows = {result["row"]: result for result in written["results"]}
    printed = capsys.readouterr().out
    assert {"moco", "byol", "vicreg", "directpred_middle_term", "directpred every 50"} < set(rows)
    assert all(name in printed for name in rows)
    assert {"torch", "threads", "processor", "gpu", "clock"} < set(written["environment"])
    for name in equivalence.OFFICIAL:
        assert rows[name]["ratio"]["repeats"] == 3
        assert rows[name]["ratio"]["low"] <= rows[name]["ratio"]["median"] <= rows[name]["ratio"]["high"]
        assert max(rows[name]["gaps"].values()) < 1e-3
    assert rows["moco"]["ratio"] is None and rows["moco"]["seconds"]["median"] > 0


def test_a_row_with_too_wide_an_eigh_says_so_and_is_not_run():
    (cost,) = loss_cost.measure(["directpred"], SIZE, 1, 8, quiet)
    assert cost.seconds is None and not cost.refused
    assert "--eigh-up-to 16" in loss_cost.line(cost)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "unigrat"], "did you mean unigrad"),
        (["--widths", "2048,wide"], "--widths 2048,wide is not understood"),
        (["--rows-per-rank", "0"], "--rows-per-rank 0 is not understood"),
        (["--repeats", "3,4"], "--repeats 3,4 is more than one number"),
        (["--device", "tpu"], "--device=tpu is not known"),
        (["--json", "."], "--json . is a folder"),
    ],
)
def test_bad_options_end_in_one_sentence(options, words, capsys):
    with pytest.raises(SystemExit) as left:
        run_tool(lambda: benchmark.main([*TINY, *options]))
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert words in error and len(error.strip().splitlines()) == 1
