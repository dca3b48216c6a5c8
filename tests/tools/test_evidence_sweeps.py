"""tools/evidence.py: sweeps with their flat tops, and what two of them say of one another."""

from __future__ import annotations

import json

import pytest

from helpers.kept_evidence import a_comparison, a_line
from pretrain.runtime.errors import UserError
from tools import evidence
from tools.trials.evidence import agreement, kept_sweeps


def a_sweep(folder, *trials, searched=("method.balance",), own=4.0):
    """A folder of tools/sweep.py with trials (row, value, accuracy or None) of one seed."""
    folder.mkdir()
    ended = [
        {"row": row, "name": f"{row}-{number}", "state": "complete" if top else "failed", "value": top}
        | {"params": {searched[0]: value}, "why": "" if top else "it collapsed."}
        for number, (row, value, top) in enumerate(trials)
    ]
    names = dict.fromkeys(row for row, *_ in trials)
    ranges = {name: {"low": 1, "high": 64, "choices": []} for name in searched}
    rows = [{"row": row, "trials": 4, "given": dict.fromkeys(searched, own), "ranges": ranges} for row in names]
    told = {
        "metric": "knn",
        "sampler": "grid",
        "pruner": "none",
        "setting": "a setting.",
        "rows": rows,
        "trials": ended,
    }
    (folder / "sweep.json").write_text(json.dumps(told))
    return folder


def test_a_sweep_is_kept_with_its_best_value_and_the_flat_top_around_it(tmp_path):
    reached = [("e", 16.0, 40.0), ("e", 1.0, 39.9), ("e", 4.0, 38.5), ("e", 8.0, 39.2), ("e", 64.0, None)]
    out = a_sweep(tmp_path / "out", *reached, ("h", 8.0, 30.0))
    comparison = a_comparison(tmp_path / "table", a_line("untrained", [30.0]))
    docs = tmp_path / "docs"
    evidence.main(["--docs", str(docs), "--keep", f"balance={out}", "--keep", f"other={comparison}"])
    text = (docs / "evidence.md").read_text()
    assert "2 of its trials are missing" in text  # of two rows with four each, five have ended and one has failed
    assert "\n\nWithout an accuracy, `e` at 64: it collapsed.\n\n![" in text
    # 39.9 at 1 is near the best, but 38.5 lies between
    assert "| e | 39.9 | 38.5 | 39.2 | 40.0 | 4 | 16 | 8 to 16 |" in text
    assert "| h |  |  | 30.0 |  | 4 | 8 | 8 to 8 |" in text
    assert "e: 39.9% at method.balance, as a multiple of the row's own 0.25, 40% at 4, best 40% at 4" in (
        docs / "figures" / "evidence_balance.svg"
    ).read_text().replace("&#x27;", "'")


def test_two_sweeps_say_whether_a_value_counts_or_its_multiple_of_the_rows_own(tmp_path):
    """The second row's own value is twice the first's: 4 and 8 are equal multiples, 4.1 is equal to 4."""
    narrow = a_sweep(tmp_path / "narrow", ("e", 4.0, 40.0), ("e", 16.0, 38.0), ("h", 2.0, 10.0), own=4.0)
    wide = a_sweep(tmp_path / "wide", ("e", 4.1, 39.0), ("e", 8.0, 36.5), ("e", 32.0, 30.0), ("j", 2.0, 10.0), own=8.0)
    comparison = a_comparison(tmp_path / "table", a_line("untrained", [30.0]))
    docs, kept_as = tmp_path / "docs", []
    for name, out in {"narrow": narrow, "wide": wide, "other": comparison}.items():
        kept_as += ["--keep", f"{name}={out}"]
    evidence.main(["--docs", str(docs), *kept_as])
    text = (docs / "evidence.md").read_text().replace("\n", " ")
    assert "`method.balance` by 1.0 points on average and 1.0 at most (1 pair)." in text
    assert "own values they differ by 5.8 points on average and 8.0 at most (2 pairs)." in text  # 3.5 and 8


def test_sweeps_of_one_width_or_of_two_options_say_nothing_of_one_another():
    def swept(option, own):
        row = kept_sweeps.RowSweep("e", own, {4.0: 30.0, 8.0: 31.0})
        return kept_sweeps.KeptSweep("name", "", "k-NN", option, (row,), (), 0)

    assert agreement.agreements([swept("method.balance", 4.0), swept("method.balance", 8.0)])
    assert not agreement.agreements([swept("method.balance", 4.0), swept("method.balance", 4.1)])
    assert not agreement.agreements([swept("method.balance", 4.0), swept("optim.base_lr", 8.0)])


@pytest.mark.parametrize(
    "trials, searched, own, words",
    [
        ([("e", 1.0, 9.0)], ("method.balance", "optim.base_lr"), 4.0, "searches method.balance, optim.base_lr"),
        ([("e", "sgd", 9.0)], ("optim.optimiser",), "sgd", "only one over a single number"),
        ([("e", 1.0, None)], ("method.balance",), 4.0, "nothing of the sweep other has ended"),
    ],
)
def test_a_sweep_that_no_curve_can_show_is_refused(tmp_path, trials, searched, own, words):
    out = a_sweep(tmp_path / "out", *trials, searched=searched, own=own)
    with pytest.raises(UserError, match=words):
        evidence.main(["--docs", str(tmp_path / "docs"), "--keep", f"other={out}"])
    assert not (tmp_path / "docs").exists()
