"""tools/compare.py: every row under one setting, nothing done twice, a failure told in the table, bad input first."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import statistics
from pathlib import Path

import pytest
import yaml

from helpers.painted import paint_both
from helpers.repository import ROOT
from helpers.tiny_runs import ARCH
from pretrain.runtime.errors import UserError
from tools import compare, evaluate, pretrain
from tools.launcher.pipeline import processes
from tools.launcher.worker.logs import last_sentence
from tools.trials.comparison import jobs, table
from tools.trials.comparison.trials import OURS, make_trials
from tools.trials.rows import find_rows, read_setting

pytestmark = pytest.mark.slow

TABLES = ROOT / "configs" / "pretrain"
SMALL = {
    "views": {"size": 32},
    "model": {"arch": ARCH, "projector_width": 16, "projector_depth": 2},
    "data": {"workers": 0},
    "optim": {"epochs": 1, "warmup_epochs": 0, "batch_size": 12, "base_lr": 0.1},
    "run": {"precision": "fp32", "threads": 1, "device": "cpu"},
    "rows": {"i_vicreg": {"optim": {"base_lr": 1e12}}},
}
ROWS = ("e_unigrad", "j_vicreg_l2")
READINGS = {"knn top1 k=20 T=0.07": "knn", "linear top1": "linear"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with painted images as data/ and SMALL as small.yaml."""
    root = tmp_path_factory.mktemp("place")
    paint_both(root / "data", train=8, val=6)
    (root / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return root


def arguments(place, *more, out="out", chosen=ROWS):
    """A comparison of two rows of Table 2 with SMALL over them."""
    base = {"--config": TABLES / "table2", "--with": place / "small.yaml", "--data": place / "data"}
    base |= {"--out": place / out, "--rows": ",".join(chosen)}
    return [*(str(word) for pair in base.items() for word in pair), "--parallel", "1", *more]


def trials(place, seeds):
    setting = read_setting(place / "small.yaml", TABLES / "table2", OURS)
    found = find_rows(TABLES / "table2", ",".join(ROWS))
    return make_trials(found, setting, [], place / "data", place / "out", seeds)


@pytest.fixture(scope="module")
def compared(place):
    """What a comparison prints that finds three of its four runs, and one of two base lines, done by hand."""
    local = jobs.Runner("local", None, None, place / "out")
    by_name = {trial.name: trial for trial in trials(place, [0, 1])}

    def evaluated(name, trunk, trial):
        evaluate.main(
            jobs.evaluation_of(name, trunk, trial, local, place / "data", tuple(READINGS.values()), ()).arguments()
        )

    for name in ("e_unigrad-0", "e_unigrad-1", "j_vicreg_l2-1"):
        pretrain.main(jobs.Training(by_name[name]).arguments())
        evaluated(name, by_name[name].trunk, by_name[name])
    evaluated("untrained-1", by_name["e_unigrad-1"].initial, by_name["e_unigrad-1"])
    with contextlib.redirect_stdout(io.StringIO()) as said:
        compare.main(arguments(place, "--seeds", "0,1"))
    return said.getvalue()


def ran(said):
    """Names of the commands that a comparison ran: each is printed with its log."""
    return [Path(line.split()[-2]).stem for line in said.splitlines() if line.endswith(".log 2>&1")]


def test_only_what_is_missing_is_done(compared):
    assert ran(compared) == [
        "train-j_vicreg_l2-0",
        "evaluate-j_vicreg_l2-0",
        "evaluate-untrained-0",
    ]


def test_the_tables_numbers_are_mean_and_deviation_of_the_result_files(place, compared):
    written = json.loads((place / "out/table.json").read_text())
    by_row = {line["row"]: line for line in written["rows"]}
    assert list(by_row) == ["untrained", *ROWS]
    for row in ROWS:
        for name, task in READINGS.items():
            files = [place / "out/results" / f"{task}-{row}-{seed}.json" for seed in (0, 1)]
            values = [json.loads(file.read_text())["metrics"][name.removeprefix(f"{task} ")] for file in files]
            reading = by_row[row]["readings"][name]
            assert reading["values"] == values and reading["n"] == 2 and reading["seeds"] == [0, 1]
            assert reading["mean"] == pytest.approx(sum(values) / 2)
            assert reading["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        for name, key in (("effective rank", "effective_rank"), ("mean cosine of negative pairs", "negative_cosine")):
            lines = [(place / f"out/{row}-{seed}/metrics.jsonl").read_text().splitlines()[-1] for seed in (0, 1)]
            values = [json.loads(line)[key] for line in lines]
            assert by_row[row]["readings"][name]["mean"] == pytest.approx(statistics.fmean(values))
    assert by_row["untrained"]["readings"]["linear top1"]["seeds"] == [0, 1]
    assert (by_row["e_unigrad"]["published"], by_row["j_vicreg_l2"]["published"]) == (70.3, 69.8)


def test_markdown_shows_every_row_with_its_targets_and_the_papers_number_apart(place, compared):
    text = (place / "out/table.md").read_text()
    assert "untrained network's residual branches start at zero" in text  # as this recipe's do
    assert text in compared and f"python tools/report.py {place / 'out'}" in compared
    header, _, untrained, unigrad, vicreg = [line for line in text.splitlines() if line.startswith("|")]
    assert header.count("|") == untrained.count("|") == unigrad.count("|") == vicreg.count("|")
    assert "another protocol, not comparable" in header and "not finished" not in header
    cells = [cell.strip() for cell in unigrad.split("|")]
    assert cells[1:5] == ["e", "e_unigrad", "unigrad", "momentum / momentum"]
    assert "momentum / stop_gradient" in vicreg and "± " in unigrad and "(2)" in unigrad and "(2)" in untrained


def test_a_second_call_does_nothing_and_says_the_same(place, compared, capsys):
    before = (place / "out/table.md").read_bytes()
    compare.main(arguments(place, "--seeds", "0,1"))
    assert ran(capsys.readouterr().out) == []
    assert (place / "out/table.md").read_bytes() == before


def test_a_row_that_fails_stands_in_the_table_and_loses_no_other(place, compared, capsys):
    """Row i learns at a rate that leaves no finite number; its neighbour and the base line are there already."""
    shutil.copytree(place / "out/e_unigrad-0", place / "failing/e_unigrad-0")
    shutil.copytree(place / "out/results", place / "failing/results")
    with pytest.raises(SystemExit) as ended:
        compare.main(arguments(place, out="failing", chosen=("e_unigrad", "i_vicreg")))
    assert ended.value.code == 1 and ran(capsys.readouterr().out) == ["train-i_vicreg-0"]
    _, unigrad, failed = json.loads((place / "failing/table.json").read_text())["rows"]
    assert unigrad["errors"] == {} and unigrad["readings"]["linear top1"]["n"] == 1
    assert failed["readings"] == {} and failed["errors"]["0"].startswith("training stopped:")
    assert f"seed 0: {failed['errors']['0']}" in (place / "failing/table.md").read_text().splitlines()[-1]


def test_a_run_folder_of_another_setting_is_refused(place, compared):
    with pytest.raises(UserError, match=r"e_unigrad-0 holds a run with optim.epochs=1, but .* asks for 3: choose"):
        compare.main(arguments(place, "optim.epochs=3"))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--rows", "e_unigrad,k_byol"], "has no row 'k_byol'; it has a_moco, b_simclr, c_byol"),
        (["--config", "configs/absent"], "configs/absent is not a folder"),
        (["--data", "{place}/data/train"], "has no folder train .*: give the folder"),
        (["--seeds", "0,one"], "--seeds 0,one has to be whole numbers"),
        (["--tasks", "knn,lineal"], "'lineal' is not known: choose among knn, linear, "),
        (["--evaluate", "image_sise=32"], "did you mean 'image_size'"),
        (["--parallel", "0"], "--parallel 0 is below 1"),
        (["--with", "absent.yaml"], "absent.yaml is not a file"),
        (["run.seed=3"], "run.seed differs from run to run and is set from --seeds"),
        (["model.arhc=resnet18"], "did you mean 'model.arch'"),
        (["method.temperature=0.1"], "row e_unigrad: .*method.temperature is not an option of unigrad"),
        (["method.name=unigrad"], "e_unigrad and j_vicreg_l2 differ in nothing"),
    ],
)
def test_every_mistake_is_told_before_anything_is_trained(place, more, told):
    with pytest.raises(UserError, match=told):
        given = arguments(place, *(word.format(place=place) for word in more), out="untouched")
        if "--config" in more:  # is given once
            del given[given.index("--config") : given.index("--config") + 2]
        compare.main(given)
    assert not (place / "untouched").exists()


def test_data_without_val_is_told(place, tmp_path):
    (tmp_path / "train").symlink_to(place / "data/train")
    with pytest.raises(UserError, match="has no folder val"):
        compare.main(arguments(place, "--data", str(tmp_path), out="untouched"))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("rows: {a_mcoo: {}}", "no table has a row 'a_mcoo'"),
        ("optim: {epoch: 3}", "did you mean 'optim.epochs'"),
        ("rows: {a_moco: {method: {queue: 3}}}", "did you mean 'method.queue_size'"),
        ("run: {seed: 3}", "run.seed differs from run to run"),
        ("- 3", "holds a list: it has to hold lines"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_setting_is_told_with_its_file(tmp_path, written, told):
    (tmp_path / "with.yaml").write_text(written)
    with pytest.raises(UserError, match=f"--with .*with.yaml.*{told}"):
        read_setting(tmp_path / "with.yaml", TABLES / "table2", OURS)


def test_what_a_row_is_named_for_wins_over_the_setting_and_its_own_entry_over_both(place, tmp_path):
    (tmp_path / "with.yaml").write_text(
        "model: {projector_width: 64, arch: resnet18}\nmethod: {rho: 0.5}\nrows: {width_2048: {method: {rho: null}}}\n"
    )
    setting = read_setting(tmp_path / "with.yaml", TABLES / "table10", OURS)
    found = find_rows(TABLES / "table10", None)
    made = make_trials(found, setting, ["optim.epochs=9"], place / "data", tmp_path, [7])
    assert [trial.row for trial in made] == [f"width_{width}" for width in (1024, 2048, 4096, 8192, 16384)]
    assert [trial.cfg.model.projector_width for trial in made] == [1024, 2048, 4096, 8192, 16384]
    assert [trial.cfg.method.rho for trial in made] == [0.5, None, 0.5, 0.5, 0.5]
    for trial in made:
        assert (trial.cfg.model.arch, trial.cfg.optim.epochs, trial.cfg.run.seed) == ("resnet18", 9, 7)
        assert trial.cfg.data.val == str((place / "data/val").resolve())


def test_the_shipped_setting_fits_every_row_of_every_table(place, tmp_path):
    for folder in sorted(TABLES.glob("table*")):
        setting = read_setting(TABLES.parent / "compare/imagenette_cpu.yaml", folder, OURS)
        made = make_trials(find_rows(folder, None), setting, [], place / "data", tmp_path, [0])
        assert {trial.cfg.model.arch for trial in made} == {"resnet18"}


def test_on_slurm_every_row_and_seed_is_a_job_of_its_own(place, monkeypatch):
    given = []
    monkeypatch.setattr(
        processes, "run_all_commands", lambda commands, at_once: given.append((commands, at_once)) or []
    )
    training = [jobs.Training(trial) for trial in trials(place, [5, 6])]
    assert jobs.Runner("slurm", None, 2, place / "out").run(training) == {}
    [(commands, parallel)] = given
    assert parallel == len(commands) == 4
    for command, job in zip(commands, training, strict=True):
        assert Path(command.words[1]).name == "launch.py" and command.words[2] == "pretrain"
        assert {"--cluster=slurm", "--follow", "--gpus=2"} <= set(command.words)
        assert list(command.words[command.words.index("--") + 1 :]) == job.arguments()


def test_the_last_error_of_a_log_is_its_sentence(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("step 1\nerror: pretrain: rank 0 ended; last words: error: the features collapsed at step 3: x.\n")
    assert last_sentence(log) == "the features collapsed at step 3: x."
    log.write_text("step 1\nKilled\n")
    assert last_sentence(log) == f"ended after 'Killed' (see {log})"


def test_hidden_files_beside_the_rows_are_no_rows(tmp_path):
    """As macOS and editors leave them."""
    for name in ("a.yaml", "b_10.yaml", "b_9.yaml", "._a.yaml", ".b.yaml"):
        (tmp_path / name).write_text("optim: {epochs: 1}\n")
    (tmp_path / "folder.yaml").mkdir()
    assert [path.name for path in find_rows(tmp_path, None)] == ["a.yaml", "b_9.yaml", "b_10.yaml"]


def test_a_cell_of_the_table_holds_whatever_a_row_is_called():
    line = table.TableRow("a|b\nc", errors={0: "x | y\\"})
    rows = table.as_markdown([line], "setting").splitlines()[2:]
    assert len(rows) == 3 and r"a\|b c" in rows[2] and "seed 0: x \\| y\\\\ |" in rows[2]
