"""The check of the network between two gloo ranks: right ones are found right, wrong ones and far clocks are told."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from helpers.two_ranks import both
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from tools import check_network
from tools.launcher import cli, plan
from tools.network import measure, told
from tools.network.measure import Rank

CPU = torch.device("cpu")
AHEAD = 5.0  # seconds of rank 1's clock


def _checked(rank: int, folder: str) -> bool:
    check_network.main(["--out", f"{folder}/found.json"])
    return not torch.distributed.is_initialized()


def _broken(rank: int) -> list[object]:
    """What is found where rank 1's clock is ahead, and its means and rows are wrong."""
    distributed.start(CPU)
    if rank == 1:
        now, gather = time.time, torch.distributed.all_gather
        time.time = lambda: now() + AHEAD
        torch.distributed.all_gather = lambda parts, value: gather(parts[::-1], value)
    if rank == 0:
        reduce = torch.distributed.all_reduce
        torch.distributed.all_reduce = lambda value, *how, **more: _reduced(reduce, value, *how, **more)
    clocks, wrong = measure.clock_offsets([0, 1]), measure.wrong_collectives(CPU)
    return [wrong, [list(clocks[at]) for at in (0, 1)] if rank == 0 else []]


def _reduced(reduce: Callable[..., object], value: torch.Tensor, *how: object, **more: object) -> object:
    """An all-reduce that loses the last of many numbers."""
    work = reduce(value, *how, **more)
    if len(value.view(-1)) > 1000:
        value[-1] = 0
    return work


@pytest.mark.slow
def test_two_ranks_that_agree_are_found_right(tmp_path: Path) -> None:
    assert both(_checked, tmp_path, str(tmp_path)) == [True, True]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["wrong_collectives"] == found["faults"] == [] and [one["rank"] for one in found["ranks"]] == [0, 1]
    ((first, second, speed),) = found["pairs_gb_per_s"]
    assert (first, second) == (0, 1) and speed > 0 and set(found["all_reduce_gb_per_s"]) == {"1 MB", "8 MB"}


@pytest.mark.slow
def test_wrong_results_and_a_clock_that_is_ahead_are_told_on_every_rank(tmp_path: Path) -> None:
    (wrong, clocks), (theirs, _) = both(_broken, tmp_path)
    assert wrong == theirs == ["all-gather", "all-reduce"]
    (ahead, error) = clocks[1]
    assert clocks[0] == [0.0, 0.0] and abs(ahead - AHEAD) <= error + 1e-3 and error < AHEAD


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
def test_every_pair_is_measured_once_and_no_rank_is_in_two_of_a_round(count: int) -> None:
    rounds = measure.rounds_of(count)
    assert sorted(pair for pairs in rounds for pair in pairs) == list(itertools.combinations(range(count), 2))
    assert all(len({*sum(pairs, ())}) == 2 * len(pairs) for pairs in rounds)
    assert len(rounds) <= count  # as few as there can be


def _measured(**changes: object) -> told.Measured:
    ranks = [Rank(rank, f"n{rank // 2}", rank % 2, "cuda H100", f"gpu{rank % 2}", "torch 2") for rank in range(6)]
    good = {
        **{"ranks": ranks, "wrong": [], "products": [(True, 50.0)] * 6, "reduces": {256: 90.0}, "left_out": 0},
        **{
            "pairs": {(0, 2): 40.0, (0, 4): 41.0, (2, 4): 39.0},
            "clocks": {0: (0.0, 0.0), 2: (0.01, 0.02), 4: (0.0, 0.1)},
        },
    }
    return told.Measured(**{**good, **changes})


def test_what_stands_out_is_named_with_its_node() -> None:
    good = _measured()
    assert good.faults() == good.notes() == [] and good.lines()[-1] == "nothing is wrong"
    slow = _measured(pairs={(0, 2): 40.0, (0, 4): 4.0, (2, 4): 39.0}, left_out=7)
    assert (
        slow.notes()[0] == "rank 0 (n0) and rank 4 (n2): 4 GB/s, median 39"
        and "7 pairs were left out" in slow.notes()[1]
    )
    assert "rank 4 (n2) is +9.0 s" in _measured(clocks={0: (0.0, 0.0), 4: (9.0, 0.1)}).notes()[0]
    assert (
        "rank 3 (n1) computes 5"
        in _measured(products=[(True, 50.0)] * 3 + [(True, 5.0)] + [(True, 50.0)] * 2).notes()[0]
    )
    ranks = [*good.ranks[:5], Rank(5, "n2", 1, "cuda H100", "gpu0", "torch 3")]
    faults = _measured(ranks=ranks, wrong=["vote"], products=[(False, 1.0)] + [(True, 1.0)] * 5).faults()
    assert faults[0] == "vote gives wrong results" and faults[1] == "rank 0 (n0) multiplies wrongly"
    assert "torch 2; torch 3" in faults[2] and faults[3] == "ranks 4 and 5 share one GPU of n2"


def test_the_launcher_checks_where_the_run_would_be_and_leaves_its_folder_alone(tmp_path: Path) -> None:
    words = ["--nodes", "8", "--partition", "gpu", "--run-dir", str(tmp_path / "run"), "data.root=/absent", "run_dir=x"]
    check = plan.plan(*cli.split_arguments(["--network-check", *words]))
    run = plan.plan(*cli.split_arguments(words))
    assert Path(check.commands[0][1]).name == "check_network.py" and len(check.commands[0]) == 2
    assert check.run_dir == tmp_path / "run/network-check" and check.request.minutes == 10
    same = ("nodes", "tasks", "gpus", "options")
    assert [getattr(check.request, name) for name in same] == [getattr(run.request, name) for name in same]
    with pytest.raises(UserError, match="one process has no network"):
        check_network.main([])
