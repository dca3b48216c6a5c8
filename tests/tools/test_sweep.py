"""tools/sweep.py: Optuna's decisions on what runs measured, the same trials however often it is interrupted, nothing
counted twice, and bad input first.

Trials are played: a run folder gets the measurements of a formula, one a look. Runs themselves are tested elsewhere.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import shutil
import sys
from dataclasses import dataclass, field

import pytest
import torch
import yaml

from helpers.painted import paint_both
from helpers.repository import ROOT
from helpers.tiny_runs import ARCH
from pretrain import config
from pretrain.runtime.errors import UserError
from tools import sweep as tool
from tools.launcher.status import State
from tools.trials.rows import CommonSetting
from tools.trials.sweep.definition import Base, make_searches, read_definition
from tools.trials.sweep.loop import Loop, check_open
from tools.trials.sweep.place import Place, share
from tools.trials.sweep.progress import measurements
from tools.trials.sweep.storage import FILE, begun, open_storage, open_studies, try_again

optuna = pytest.importorskip("optuna")

TABLE_2 = ROOT / "configs/pretrain/table2"
SMALL = [
    "model.arch=resnet18",
    "model.projector_width=16",
    "model.projector_depth=2",
    "views.size=32",
    "optim.epochs=4",
    "optim.warmup_epochs=0",
    "optim.batch_size=12",
    "run.precision=fp32",
    "run.device=cpu",
    "run.threads=1",
    "data.workers=0",
]
SEARCH = {"method.balance": {"low": 0.01, "high": 100, "log": True}, "optim.base_lr": {"low": 0.1, "high": 1}}
PLAN = {
    "config": str(TABLE_2),
    "rows": ["e_unigrad"],
    "trials": 9,
    "sampler": {"name": "tpe", "startup": 4},
    "pruner": {"name": "median", "startup": 2, "warmup": 1},
    "search": SEARCH,
}
EPOCHS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return paint_both(tmp_path_factory.mktemp("data") / "data", train=2, val=2)


def value(params, epoch):
    """What a run measures after an epoch: best at a balance of 1 and a rate of .5, and rising with the epochs."""
    off = math.log10(params["method.balance"]) ** 2 + (params.get("optim.base_lr", 0.5) - 0.5) ** 2
    return 50 - 5 * off + epoch * (1 - off / 10)


@dataclass
class Played:
    """Jobs that measure one epoch a look, in run folders as a run writes them. dies: after so many looks in all."""

    parallel: int = 1
    pause: float = 0.0
    attended: bool = True
    dies: int = 10**9
    fails: dict = field(default_factory=dict)  # why a trial fails, by name
    crashes: dict = field(default_factory=dict)  # how often a trial crashes after its first epoch, by name
    starts: list = field(default_factory=list)
    looks: int = 0
    ended: set = field(default_factory=set)

    def start(self, trial, slot):
        self.starts.append(trial.name)
        trial.folder.mkdir(parents=True, exist_ok=True)
        (trial.folder / "config.yaml").write_text(config.dump(trial.cfg))
        return trial

    def job(self, trial):
        return None

    def look(self, job):
        self.looks += 1
        if self.looks > self.dies:
            raise KeyboardInterrupt
        if job.name in self.ended:
            return State("cancelled")
        log = job.folder / "metrics.jsonl"
        lines = log.read_text().splitlines() if log.is_file() else []
        if job.name in self.fails:
            return State("failed", code=2)
        if lines and self.crashes.get(job.name, 0):
            self.crashes[job.name] -= 1
            return State("failed", code=1)
        params = {"method.balance": job.cfg.method.balance, "optim.base_lr": job.cfg.optim.base_lr}
        epoch = len(lines) + 1
        with open(log, "a") as handle:
            line = {"step": epoch, "steps": EPOCHS, "epoch": epoch, "knn_top1": value(params, epoch)}
            handle.write(json.dumps(line) + "\n")
        if epoch < EPOCHS:
            return State("running")
        (job.folder / "export").mkdir()
        torch.save({"meta": {"epoch": EPOCHS}}, job.folder / "export/trunk.pth")
        return State("completed")

    def end(self, job):
        self.ended.add(job.name)

    def starts_left(self, job, state, starts):
        return 4 - starts if state.code == 1 else 0

    def why(self, job):
        return self.fails[job.name]


def written(folder, **changes):
    """SWEEP.yaml with changes; None removes a key."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = {key: one for key, one in (PLAN | changes).items() if one is not None}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(plan))
    return folder / "sweep.yaml"


def opened(path, data, out, given=SMALL, trials=None):
    """(searches, studies) of a SWEEP.yaml."""
    read = read_definition(path, trials, None)
    searches = make_searches(read, Base(CommonSetting({}, {}), tuple(given), data, out))
    storage = open_storage(out, read.plan.lock)
    return searches, open_studies(storage, searches)


def swept(path, data, out, place=None, **more):
    """Run a sweep to its end; its trials by name."""
    loop = Loop(*opened(path, data, out, **more), place or Played())
    loop.run()
    return table(loop.write())


def table(sweep):
    return {trial.name: (trial.state, trial.params, trial.value, trial.measurements) for trial in sweep.trials}


def by_optuna(params, startup, warmup):
    """Optuna's own optimize, in memory, over given parameters: (state, steps) of each trial."""

    def objective(trial):
        chosen = {name: trial.suggest_float(name, low, high) for name, (low, high) in bounds.items()}
        for epoch in range(1, EPOCHS + 1):
            trial.report(value(chosen, epoch), epoch)
            if epoch < EPOCHS and trial.should_prune():
                raise optuna.TrialPruned
        return value(chosen, EPOCHS)

    bounds = {"method.balance": (0.01, 100), "optim.base_lr": (0.1, 1)}
    pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for one in params:
        study.enqueue_trial(one)
    study.optimize(objective, n_trials=len(params))
    return [(trial.state.name.lower(), len(trial.intermediate_values)) for trial in study.trials]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A sweep that nothing interrupts: (its folder, its trials by name)."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, swept(written(folder), data, folder / "out")


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


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"search": {"optim.base_rl": {"low": 0.1, "high": 1}}},
            "no option 'optim.base_rl'.*did you mean 'optim.base_lr'",
        ),
        ({"search": {"method.temperature": {"low": 0.1, "high": 1}}}, "no option 'method.temperature'.*did you mean"),
        ({"search": {"run_dir": ["a", "b"]}}, "run_dir differs from run to run and is set from --out"),
        ({"search": {"optim.epochs": {"low": 1, "high": 3}}}, "optim.epochs is searched and given on the command line"),
        ({"search": {"optim.base_lr": {"low": 1, "high": 0.1}}}, "from 1 to 0.1, where there is nothing to search"),
        ({"search": {"optim.base_lr": {"low": 0, "high": 1, "log": True}}}, "by ratios .log., which needs low above 0"),
        ({"search": {"optim.base_lr": {"low": -1, "high": 1}}}, "optim.base_lr cannot be -1.0 .*out of range"),
        ({"search": {"optim.base_lr": {"low": 1}}}, "lacks high"),
        ({"search": {"optim.base_lr": {"low": 1, "high": 2, "step": 3}}}, "in steps of 3: there is no second value"),
        ({"search": {"optim.base_lr": {"low": 1, "hihg": 2}}}, "no option 'hihg'; did you mean 'high'"),
        ({"search": {"optim.base_lr": {"times": 1}}}, "times=1.0 is out of range: it must be above 1"),
        ({"search": {"model.projector_depth": {"low": 1.5, "high": 3}}}, "takes whole numbers"),
        ({"search": {"optim.base_lr": [0.1]}}, "at least two, each once"),
        ({"search": {"optim.base_lr": ["fast", "slow"]}}, "cannot be fast .*wrong type"),
        ({"search": {"optim.optimiser": {"low": 1, "high": 2}}}, "is no number: list its values as choices"),
        ({"search": {}}, "search is empty"),
        ({"search": {"optim.base_lr": 3}}, "has to be a mapping such as"),
        ({"sampler": "tpee"}, "name=tpee is not known .did you mean tpe."),
        ({"pruner": "medium"}, "name=medium is not known .did you mean median."),
        ({"metric": "knm"}, "metric=knm is not known .did you mean knn."),
        ({"trials": 0}, "trials=0 is out of range"),
        ({"trails": 3}, "no option 'trails'; did you mean 'trials'"),
        ({"lock": "flock"}, "lock=flock is not known"),
        ({"rows": ["e_unigard"]}, "no row 'e_unigard' in .*did you mean 'e_unigrad'"),
        ({"rows": ["c_byol"], "search": {"method.balance": {"times": 10}}}, "needs a value above 0 in the row"),
        ({"config": "absent"}, "absent is neither a YAML file nor a folder"),
        ({"config": None}, "lacks config"),
        ({"sampler": "grid"}, "a grid lists every value"),
    ],
)
def test_every_mistake_is_told_before_anything_is_written(data, tmp_path, changes, told):
    given = [one for one in SMALL if not one.startswith(("model.projector_depth", "optim.optimiser"))]
    path = written(tmp_path, **changes)
    with pytest.raises(UserError, match=told):
        tool.main(["--config", str(path), "--data", str(data), "--out", str(tmp_path / "out"), *given])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--parallel", "0"], "--parallel 0 is below 1"),
        (["--rows", "b_simclr"], "--rows: .* has no row 'b_simclr'; it has e_unigrad"),
        (["--launch", "--run-dir x"], "--launch: --run-dir is the sweep's own"),
        (["--launch", "'"], "no words of a shell"),
        (["--launch", "--partitoin x"], "did you mean '--partition'"),
        (["--data", "absent"], "absent"),
        (["data.root=x"], "data.root differs from run to run"),
        (["--cluster", "slurm"], "this machine has no SLURM"),
    ],
)
def test_a_wrong_command_line_is_told_too(data, tmp_path, monkeypatch, words, told):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=told):
        asked = {"--config": str(written(tmp_path)), "--data": str(data), "--out": str(tmp_path / "out")}
        asked = {key: one for key, one in asked.items() if key not in words}
        tool.main([*itertools.chain(*asked.items()), *SMALL, *words])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "given", "told"),
    [
        ({"sampler": "random"}, [], "with sampler.name=tpe, but this one asks for random: choose another --out"),
        ({"seed": 3}, [], "with seed=0, but this one asks for 3"),
        ({"metric": "linear"}, [], "with metric=knn, but this one asks for linear"),
        ({"search": {"method.balance": {"times": 3}}}, [], "e_unigrad with optim.base_lr=nothing"),
        ({}, ["views.min_scale=0.4"], "with views.min_scale=0.2, but this one asks for 0.4"),
    ],
)
def test_a_folder_of_another_sweep_is_refused_and_keeps_everything(whole, data, tmp_path, changes, given, told):
    shutil.copytree(whole[0] / "out", tmp_path / "out")
    before = (tmp_path / "out" / FILE).read_bytes()
    with pytest.raises(UserError, match=told):
        opened(written(tmp_path, **changes), data, tmp_path / "out", given=[*SMALL, *given])
    assert (tmp_path / "out" / FILE).read_bytes() == before


def test_a_journal_that_is_damaged_or_of_another_program_is_told(whole, data, tmp_path):
    (tmp_path / "out").mkdir()
    whole_one = (whole[0] / "out" / FILE).read_bytes()
    (tmp_path / "out" / FILE).write_bytes(whole_one[:300] + b"\n" + whole_one[300:])
    with pytest.raises(UserError, match=r"sweep.journal is damaged or no journal of Optuna .*put a copy of it back"):
        opened(written(tmp_path), data, tmp_path / "out")
    (tmp_path / "other").mkdir()
    optuna.create_study(storage=open_storage(tmp_path / "other", "symlink"), study_name="e_unigrad").ask()
    with pytest.raises(UserError, match=r"holds a study 'e_unigrad' of no sweep"):
        opened(written(tmp_path), data, tmp_path / "other")


@pytest.mark.parametrize(
    ("file", "text"), [("config.yaml", ""), ("config.yaml", "optim: ["), ("config.yaml", None), ("job.json", '{"a')]
)
def test_a_trial_folder_that_is_half_written_is_told_and_begins_anew_once_it_is_away(data, tmp_path, file, text):
    """config.yaml cut off in the middle (None), empty, or no YAML; or half a job.json."""
    path, out = written(tmp_path, trials=1), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        swept(path, data, out, Played(dies=2))
    folder = out / "e_unigrad-0"
    whole_one = (folder / "config.yaml").read_text()
    (folder / file).write_text(whole_one[: len(whole_one) // 2] if text is None else text)
    with pytest.raises(UserError, match=r"e_unigrad-0 is half written or of another run .*: move it away"):
        check_open(*opened(path, data, out), Place("local", (), 1))
    assert (
        begun("e_unigrad", opened(path, data, out)[1]["e_unigrad"].get_trials())["e_unigrad-0"].state.name == "RUNNING"
    )
    folder.rename(tmp_path / "away")
    assert {name: one[0] for name, one in swept(path, data, out).items()} == {"e_unigrad-0": "complete"}


def test_devices_are_shared_among_trials_beside_each_other():
    devices = ["4", "5", "6", "7"]
    assert [share(devices, slot, 2) for slot in (0, 1)] == [["4", "5"], ["6", "7"]]
    assert [share(devices[:1], slot, 1) for slot in (0, 1)] == [["4"], ["4"]]


def test_without_optuna_one_sentence_names_the_extra(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"needs optuna, which is not installed: pip install 'unigrad\[sweep\]'"):
        tool.main(["--config", str(written(tmp_path)), "--data", str(data), "--out", str(tmp_path / "out")])


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
