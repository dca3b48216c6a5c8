"""tools/sweep.py: Optuna's decisions on what runs measured, and the same trials however often it is interrupted.

Trials are played: a run folder gets the measurements of a formula, one a look. Runs themselves are tested elsewhere.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import shutil

import pytest

from helpers.painted import paint_both
from helpers.played_sweeps import (
    EPOCHS,
    SMALL,
    Played,
    by_optuna,
    opened,
    swept,
    table,
    value,
    written,
)
from helpers.repository import ROOT
from helpers.tiny_runs import ARCH
from tools.trials.rows import CommonSetting
from tools.trials.sweep.definition import Base, make_searches, read_definition
from tools.trials.sweep.loop import Loop
from tools.trials.sweep.place import Place, share
from tools.trials.sweep.progress import measurements
from tools.trials.sweep.storage import FILE, open_storage, open_studies, try_again

pytest.importorskip("optuna")


def test_trials_end_where_optunas_own_pruner_ends_them(whole):
    params = [one[1] for one in whole[1].values()]
    ours = [(state, measured) for state, _, _, measured in whole[1].values()]
    assert ours == by_optuna(params, startup=2, warmup=2)  # below step 2 nothing is pruned: one measurement is free
    assert {state for state, _ in ours} == {"complete", "pruned"}


def test_the_value_of_a_trial_is_its_last_measurement_and_the_best_row_names_the_highest(whole):
    out, trials = whole[0] / "out", whole[1]
    for state, params, reached, measured in trials.values():
        assert reached == pytest.approx(value(params, EPOCHS if state == "complete" else measured), abs=1e-12)
    best = max((one[2], name) for name, one in trials.items() if one[0] == "complete")[1]
    text = (out / "sweep.md").read_text()
    assert (
        next(line for line in text.splitlines() if "9" in line and "e_unigrad " in line).split("|")[2].strip() == best
    )
    with open(out / "sweep.csv") as handle:
        lines = list(csv.DictReader(handle))
    assert [float(line["knn"]) for line in lines] == [one[2] for one in trials.values()]
    assert [line["trial"] for line in lines] == list(trials) == [f"e_unigrad-{number}" for number in range(9)]


def test_tpe_proposes_better_values_than_it_began_with(whole):
    def off(one):
        return math.log10(one[1]["method.balance"]) ** 2

    trials = list(whole[1].values())
    assert sum(map(off, trials[4:])) / 5 < sum(map(off, trials[:4])) / 4


@pytest.mark.parametrize("every", [1, 5])
def test_a_sweep_that_is_interrupted_again_and_again_has_the_same_trials(whole, data, tmp_path, every):
    """Each process is killed after so many looks; with 1 hardly anything fits between two interruptions."""
    searches, _ = opened(written(tmp_path), data, tmp_path / "out")
    starts, found = [], None
    for _ in range(100):
        place, storage = Played(dies=every + 1), open_storage(tmp_path / "out", "symlink")
        loop = Loop(searches, open_studies(storage, searches), place)
        try:
            loop.run()
            found = table(loop.write())
            break
        except KeyboardInterrupt:
            starts += place.starts
    assert found == whole[1]
    assert len(starts) > len(found)


def test_a_decision_stands_when_the_process_dies_before_the_run_has_ended(data, tmp_path):
    path, out = written(tmp_path), tmp_path / "out"

    class Dying(Played):
        def end(self, job):
            raise KeyboardInterrupt

    for _ in range(20):
        with pytest.raises(KeyboardInterrupt):
            swept(path, data, out, Dying())
        searches, studies = opened(path, data, out)
        open_ones = [one for one in studies["e_unigrad"].get_trials() if one.state.name == "RUNNING"]
        assert len(open_ones) == 1 and "pruned_after" in open_ones[0].user_attrs
        break
    place = Played()
    trials = swept(path, data, out, place)
    name = f"e_unigrad-{open_ones[0].number}"
    assert trials[name][0] == "pruned" and name not in place.starts


def test_two_processes_share_a_sweep_and_no_trial_is_followed_by_both(data, tmp_path):
    path, out = written(tmp_path, pruner="none", sampler="random"), tmp_path / "out"
    places = [Played(parallel=2), Played(parallel=1)]
    loops = [Loop(*opened(path, data, out), place) for place in places]
    for _ in range(200):
        for loop in loops:
            loop.claims_at = 0.0
        if not any([loop.step() for loop in loops]):
            break
    trials = table(loops[0].write())
    assert len(trials) == 9 and {one[0] for one in trials.values()} == {"complete"}
    assert sorted(places[0].starts + places[1].starts) == sorted(trials)
    assert min(len(place.starts) for place in places) >= 2


def test_a_random_sweep_has_the_values_that_its_seed_and_numbers_say(data, tmp_path):
    alone = swept(written(tmp_path / "a", sampler="random", trials=3), data, tmp_path / "a/out")
    beside = swept(written(tmp_path / "b", sampler="random", trials=3), data, tmp_path / "b/out", Played(parallel=3))
    other = swept(written(tmp_path / "c", sampler="random", trials=3, seed=1), data, tmp_path / "c/out")
    values = [[one[1] for one in trials.values()] for trials in (alone, beside, other)]
    assert values[0] == values[1] != values[2]
    assert len({one["method.balance"] for one in values[0]}) == 3  # not one value again and again


def test_a_grid_is_every_combination_once(data, tmp_path):
    search = {
        "method.balance": {"low": 0.1, "high": 10, "log": True, "points": 3},
        "optim.base_lr": {"low": 0.25, "high": 0.75, "step": 0.5},
        "optim.weight_decay": ["0", "1e-4"],
    }
    path = written(tmp_path, sampler="grid", pruner="none", search=search)
    found = swept(path, data, tmp_path / "out", Played(parallel=2))
    wanted = itertools.product((0.1, 1.0, 10.0), (0.25, 0.75), ("0", "1e-4"))
    tried = [tuple(one[1][name] for name in search) for one in found.values()]
    assert sorted((round(balance, 9), rate, decay) for balance, rate, decay in tried) == sorted(wanted)


def test_a_trial_that_crashes_goes_on_and_one_that_fails_is_told_and_counts(data, tmp_path):
    path = written(tmp_path, trials=4, pruner="none")
    place = Played(fails={"e_unigrad-1": "the features collapsed at step 3."}, crashes={"e_unigrad-2": 2})
    found = swept(path, data, tmp_path / "out", place)
    assert [one[0] for one in found.values()] == ["complete", "failed", "complete", "complete"]
    assert place.starts.count("e_unigrad-2") == 3
    assert "failed: the features collapsed at step 3." in (tmp_path / "out/sweep.md").read_text()
    searches, studies = opened(path, data, tmp_path / "out")
    assert try_again("e_unigrad", studies["e_unigrad"]) == 1
    assert try_again("e_unigrad", studies["e_unigrad"]) == 0  # it waits already
    again = Played()
    loop = Loop(searches, studies, again)
    loop.run()
    assert again.starts == ["e_unigrad-1"]
    ended = table(loop.write())
    assert {name: one[0] for name, one in ended.items()} == dict.fromkeys(found, "complete")
    assert ended["e_unigrad-1"][1] == found["e_unigrad-1"][1]


def test_more_trials_go_on_where_the_sweep_ended(data, tmp_path):
    path = written(tmp_path, trials=3)
    first = swept(path, data, tmp_path / "out")
    longer = swept(path, data, tmp_path / "out", trials=5)
    assert {name: longer[name] for name in first} == first and len(longer) == 5


def test_a_trial_that_somebody_stopped_is_left_for_the_next_call(data, tmp_path):
    path, place = written(tmp_path, trials=2, pruner="none"), Played()
    place.ended.add("e_unigrad-0")
    loop = Loop(*opened(path, data, tmp_path / "out"), place)
    loop.run()
    assert loop.left == {"e_unigrad-0": "cancelled"}
    assert [one[0] for one in table(loop.write()).values()] == ["open", "complete"]
    assert [one[0] for one in swept(path, data, tmp_path / "out").values()] == ["complete", "complete"]


def test_a_line_that_a_killed_process_began_is_cut_off(whole, data, tmp_path):
    shutil.copytree(whole[0] / "out", tmp_path / "out")
    journal = tmp_path / "out" / FILE
    before = journal.read_bytes()
    journal.write_bytes(before + b'{"op_code": 5, "wor')
    assert swept(written(tmp_path), data, tmp_path / "out") == whole[1]
    assert journal.read_bytes() == before


@pytest.mark.parametrize("lock", ["symlink", "open"])
def test_each_lock_of_the_journal_works(data, tmp_path, lock):
    assert len(swept(written(tmp_path, lock=lock, trials=2), data, tmp_path / "out")) == 2


def test_measurements_pass_over_half_a_line_and_values_that_are_not_finite(tmp_path):
    lines = ['{"step": 1, "steps": 3, "knn_top1": 5.5}', '{"step": 2, "steps": 3}', '{"step": 2, "knn_top1": NaN}']
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "steps": 3, "knn_top1": 7}', '{"step": 4']))
    assert [(one.number, one.value, one.last) for one in measurements(tmp_path, "knn")] == [
        (1, 5.5, False),
        (2, 7.0, True),
    ]


def test_devices_are_shared_among_trials_beside_each_other():
    devices = ["4", "5", "6", "7"]
    assert [share(devices, slot, 2) for slot in (0, 1)] == [["4", "5"], ["6", "7"]]
    assert [share(devices[:1], slot, 1) for slot in (0, 1)] == [["4"], ["4"]]


def test_the_shipped_search_fits_every_row_and_begins_from_the_papers_balance(data, tmp_path):
    read = read_definition(ROOT / "configs/sweep/balance.yaml", None, None)
    base = Base(CommonSetting({}, {}), ("model.projector_width=2048",), data, tmp_path / "out")
    published = {"a": 1, "b": 1, "e": 100, "f": 5e-3, "g": 5e-3, "h": 50, "i": 4e-5, "j": 25}  # Table 2
    for search in make_searches(read, base):
        ranged = search.space["method.balance"]
        assert math.sqrt(ranged.low * ranged.high) == pytest.approx(published.pop(search.row[0]))
        assert ranged.high / ranged.low == pytest.approx(900)
    assert not published


@pytest.mark.slow
def test_a_run_that_goes_on_when_its_sweep_is_gone_is_taken_up_and_counts_once(tmp_path):
    """A real job of this machine, started by one process of the sweep and followed to its end by another."""
    path, data = written(tmp_path, trials=1), paint_both(tmp_path / "data", train=8, val=6)
    given = [*SMALL, f"model.arch={ARCH}", "optim.epochs=1", "run.log_every=1"]
    searches, studies = opened(path, data, tmp_path / "out", given=given)
    gone = Loop(searches, studies, Place("local", (), 1))
    assert gone.step()
    run = tmp_path / "out/e_unigrad-0"
    job = json.loads((run / "job.json").read_text())["job_id"]
    gone.running[0].lock.close()  # as the kernel does for a process that is killed
    loop = Loop(searches, open_studies(open_storage(tmp_path / "out", "symlink"), searches), Place("local", (), 1))
    loop.run()
    (trial,) = loop.write().trials
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps] == [*range(1, steps[-1]["steps"] + 1)]
    assert (trial.state, trial.value) == ("complete", steps[-1]["knn_top1"])
    assert json.loads((run / "job.json").read_text())["job_id"] == job
