"""tools/evidence.py: paired differences as scipy's, verdicts by their intervals, a page of what is kept and no more."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from helpers.kept_evidence import LINEAR, a_comparison, a_line
from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from tools import evidence
from tools.trials.comparison.table import UNTRAINED, TableRow
from tools.trials.evidence import claims, kept, kept_trials, page, topics
from tools.trials.evidence.claims import FAILS, HOLDS, OPEN, Claim, Difference, paired, verdict
from tools.trials.peers.peer import ENDING

SHIPPED = ROOT / "docs" / "results" / "evidence"


def with_topics(docs):
    """The topics that this repository has, in a folder without what they are about."""
    shutil.copytree(SHIPPED / topics.FOLDER, docs / "results" / "evidence" / topics.FOLDER)


def test_the_paired_interval_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    for count in (2, 3, 7):
        one, other = draw.normal(50, 2, (2, count))
        found = paired(dict(enumerate(one)), dict(enumerate(other)))
        told = stats.ttest_rel(one, other).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((told.low, told.high), rel=1e-3)
        assert (found.mean, found.std) == pytest.approx((np.mean(one - other), np.std(one - other, ddof=1)))


SHORT = {"b": "b_simclr", "e": "e_unigrad", "j": "j_vicreg_l2"}
TARGETS = ["momentum_momentum", "momentum_stop", "stop_stop"]  # the columns of the README's table


def test_the_readmes_table_is_the_kept_one():
    rows = kept.read_kept(ROOT / "docs" / "results" / "evidence" / "table3.json").rows
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for letter, row in SHORT.items():
        [told] = [line for line in text.splitlines() if line.startswith(f"| {letter}, ")]
        values = [page.summary(rows[f"{row}_{targets}"], LINEAR).partition(" (n=")[0] for targets in TARGETS]
        assert [cell.strip() for cell in told.split("|")[2:-1]] == values
    untrained = page.summary(rows[UNTRAINED], LINEAR).partition(" (n=")[0]
    assert f"Untrained it has {untrained}." in text


def test_only_seeds_of_both_rows_are_paired_and_one_seed_bounds_nothing():
    found = paired({0: 3.0, 1: 9.0}, {2: 1.0, 0: 1.0})
    assert found == Difference((2.0,), -math.inf, math.inf) and math.isnan(found.std)
    assert paired({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    "margin, low, high, expected",
    [
        (0.0, 0.1, 2.0, HOLDS),
        (0.0, -0.1, 2.0, OPEN),
        (0.0, -2.0, -0.1, FAILS),
        (0.0, -math.inf, math.inf, OPEN),
        (1.0, -0.9, 0.9, HOLDS),
        (1.0, 1.1, 3.0, HOLDS),  # better is enough, too
        (1.0, -1.1, 0.9, OPEN),
        (1.0, -3.0, -1.1, FAILS),
    ],
)
def test_a_verdict_needs_the_whole_interval(margin, low, high, expected):
    claim = Claim("words", "table", "a", "b", margin)
    assert verdict(claim, Difference((0.0, 0.0), low, high)) == expected
    assert verdict(claim, None) == OPEN


@pytest.mark.parametrize(
    "low, high, expected",
    [(-0.9, 0.9, HOLDS), (-0.9, 1.1, OPEN), (-1.1, 0.9, OPEN), (1.1, 3.0, FAILS), (-3.0, -1.1, FAILS)],
)
def test_rows_that_are_to_be_alike_may_be_neither_behind_nor_ahead(low, high, expected):
    assert verdict(Claim("words", "table", "a", "b", 1.0, alike=True), Difference((0.0, 0.0), low, high)) == expected


def test_the_page_judges_what_is_kept_and_lists_what_is_not_measured(tmp_path, capsys):
    stop, both = "e_unigrad_stop_stop", "e_unigrad_momentum_momentum"
    lines = a_line("untrained", [30.0]), a_line(stop, [33.0, 34.0, 33.5], 67.9), a_line(both, [43.0, 44.5, 43.7], 70.2)
    comparison = a_comparison(tmp_path / "out", *lines)
    with_topics(tmp_path / "docs")
    evidence.main(["--docs", str(tmp_path / "docs"), "--keep", f"table3={comparison}"])
    text = (tmp_path / "docs" / "evidence.md").read_text()
    judged = next(line for line in text.splitlines() if line.startswith("| Asymmetric (e): a momentum target"))
    assert "| +2.3 | +10.2 ± 0.3 [+9.6, +10.9] (n=3) |" in judged and judged.endswith(f"| {HOLDS} |")
    assert "- Contrastive (b): a momentum target" in text.partition("Not measured yet")[2]
    assert f"| {both} | 43.7 ± 0.8 (n=3) |" in text and "| untrained | 30.0 (n=1) |" in text
    assert "figures/evidence_table3_0.svg" in text
    drawn = (tmp_path / "docs" / "figures" / "evidence_table3_0.svg").read_text()
    assert f"{both}: 10% at epoch 1, 20% at 2" in drawn
    before = text
    evidence.main(["--docs", str(tmp_path / "docs")])  # from what is kept alone
    assert (tmp_path / "docs" / "evidence.md").read_text() == before


@pytest.mark.parametrize(
    "keep, words",
    [
        ("table3", "is not of the form NAME=DIR"),
        ("a/b=runs", "is not of the form NAME=DIR"),
        ("table3=gone", "gone/table.json"),
        ("table3=damaged", "is no table.json of tools/compare.py"),
    ],
)
def test_what_is_no_comparison_is_refused_and_nothing_is_kept(tmp_path, monkeypatch, keep, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "table.json").write_text('{"rows": [{"row": "a"}], "setting": ""}')
    with pytest.raises(UserError, match=words):
        evidence.main(["--keep", keep])
    assert not (tmp_path / "docs").exists()


def test_without_a_kept_table_it_says_how_to_keep_one(tmp_path):
    with pytest.raises(UserError, match="--keep NAME=DIR"):
        evidence.main(["--docs", str(tmp_path)])


def test_seeds_that_come_later_stand_beside_those_that_are_kept(tmp_path):
    plain, better = [30.0, 31.0, 32.0, 30.5, 31.5], [33.0, 32.0, 36.0, 33.0, 35.0]
    first = a_comparison(tmp_path / "first", a_line("plain", plain[:3]), a_line("better", better[:3]))
    more = a_comparison(tmp_path / "more", a_line("better", better[3:], first=3), a_line("plain", plain[3:], first=3))
    docs = tmp_path / "docs"
    evidence.main(["--docs", str(docs), "--keep", f"other={first}", "--add", f"other={more}"])
    whole = kept.read_kept(docs / "results" / "evidence" / "other.json")
    assert list(whole.rows) == ["plain", "better"] and list(whole.rows["plain"].curves) == [0, 1, 2, 3, 4]
    found = claims.judge(Claim("words", "other", "better", "plain"), {"other": whole}).differences[LINEAR]
    stats = pytest.importorskip("scipy.stats")
    told = stats.ttest_rel(better, plain).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((told.low, told.high), rel=1e-3) and len(found.each) == 5
    text = (docs / "evidence.md").read_text()
    assert "A setting. Seeds 0, 1, 2, 3, 4: mean ±" in text and "| plain | 31.0 ± 0.8 (n=5) |" in text


@pytest.mark.parametrize(
    "of_more, words",
    [
        ({"first": 2}, r"other.json has seed 2 of the row plain already: give a comparison of other --seeds"),
        ({"first": 3, "setting": "Another."}, r"the setting 'Another.', .* 'A setting.': numbers of two settings"),
    ],
)
def test_seeds_of_another_setting_or_that_are_there_are_refused_and_nothing_changes(tmp_path, of_more, words):
    given = {"setting": of_more.pop("setting", "A setting.")}
    first = a_comparison(tmp_path / "first", a_line("plain", [30.0, 31.0, 32.0]))
    more = a_comparison(tmp_path / "more", a_line("plain", [30.0], **of_more), a_line("new", [30.0], first=3), **given)
    docs = ["--docs", str(tmp_path / "docs")]
    evidence.main([*docs, "--keep", f"other={first}"])
    before = {path: path.read_bytes() for path in (tmp_path / "docs").rglob("*.*")}
    with pytest.raises(UserError, match=words):
        evidence.main([*docs, "--add", f"other={more}"])
    assert {path: path.read_bytes() for path in (tmp_path / "docs").rglob("*.*")} == before


def test_seeds_are_added_to_what_is_kept_alone(tmp_path):
    more = a_comparison(tmp_path / "more", a_line("plain", [30.0]))
    with pytest.raises(UserError, match="other.json"):
        evidence.main(["--docs", str(tmp_path / "docs"), "--add", f"other={more}"])
    with pytest.raises(UserError, match="--add other is not of the form NAME=DIR"):
        evidence.main(["--add", "other"])


TRUNKS = ("table2", "table3")  # whose rows detectors start from


def test_every_claim_is_about_configurations_that_there_are():
    for claim in (claim for topic in topics.read_topics(SHIPPED) for claim in topic.claims):
        for row, table in ((claim.first, claim.table), (claim.second, claim.second_table or claim.table)):
            folders = TRUNKS if table.startswith("detection_") else (table.partition("_")[0],)
            file = f"{row.removesuffix(ENDING)}.yaml"
            assert row == UNTRAINED or any((ROOT / "configs" / "pretrain" / one / file).is_file() for one in folders)


def test_a_claim_may_take_its_second_row_from_another_table():
    def kept_table(name, **rows):
        return name, kept.KeptTable(
            name, "", {row: TableRow(row, readings={LINEAR: of}, published=70.0) for row, of in rows.items()}
        )

    claim = Claim("words", "table4", "multicrop", "plain", second_table="table4_time")
    equal_epochs = kept_table("table4", multicrop={0: 40.0, 1: 41.0}, plain={0: 1.0, 1: 1.0})
    assert claims.judge(claim, dict([equal_epochs])) is None
    judged = claims.judge(claim, dict([equal_epochs, kept_table("table4_time", plain={0: 39.0, 1: 39.5})]))
    assert judged.differences[LINEAR].each == (1.0, 1.5) and judged.published is None


def trials(folder, *precisions, protocol="a detector", **given):
    """A row's folder of tools/train_detection.py --trials, with the AP of seeds 0, 1, ...; its trials.json."""
    summary = {"task": "detection", "protocol": protocol, "dataset": "BCCD", "arch": "resnet18"}
    measured = {name: {"mean": 0.0, "std": 0.0, "values": list(precisions)} for name in ("bbox_AP", "bbox_AP50")}
    folder.mkdir(parents=True)
    told = {"trials": summary, "seeds": list(range(len(precisions))), "measured": measured} | given
    (folder / "trials.json").write_text(json.dumps(told))


def test_detectors_of_several_trunks_make_a_table_with_their_own_verdicts(tmp_path):
    trials(tmp_path / "out" / "untrained", 30.0, 31.0, 32.0)
    trials(tmp_path / "out" / "e_unigrad_momentum_stop", 33.0, 34.5, 35.0)
    comparison = a_comparison(tmp_path / "table", a_line("untrained", [30.0]))
    docs = tmp_path / "docs"
    name = "detection_bccd_fpn"
    with_topics(docs)
    evidence.main(["--docs", str(docs), "--keep", f"{name}={tmp_path / 'out'}", "--keep", f"other={comparison}"])
    text = (docs / "evidence.md").read_text()
    assert f"### {name}\n\nBCCD: a detector." in text
    assert "| row | AP | AP50 | AP75 |\n|---|---|---|---|\n" in text  # the paper and a collapse have no columns
    assert "| untrained | 31.0 ± 1.0 (n=3) | 31.0 ± 1.0 (n=3) | — |\n" in text
    [told] = [
        line
        for line in text.splitlines()
        if line.startswith("| Faster R-CNN FPN on BCCD, ResNet-18: the trunk of row e")
    ]
    stats = pytest.importorskip("scipy.stats")
    low, high = stats.ttest_rel([33.0, 34.5, 35.0], [30.0, 31.0, 32.0]).confidence_interval(0.95)
    assert f"| +3.2 ± 0.3 [{low:+.1f}, {high:+.1f}] (n=3) | " in told and told.endswith("| — | holds |")


def test_seeds_of_a_detector_are_those_of_its_file(tmp_path):
    trials(tmp_path / "out" / "a", 1.0, 2.0, seeds=[5, 3])
    kept_trials.keep(tmp_path / "out", tmp_path, "table")
    assert kept.read_kept(tmp_path / "table.json").rows["a"].readings["bbox_AP"] == {5: 1.0, 3: 2.0}


@pytest.mark.parametrize(
    "second, words",
    [
        ({"protocol": "another"}, "has the protocol 'another', .*give rows of one recipe"),
        ({"seeds": [0]}, "not as many values"),
        ({"measured": []}, "is no trials.json"),
        ({"trials": {}}, "is no trials.json"),
    ],
)
def test_trials_that_make_no_table_are_refused_and_nothing_is_kept(tmp_path, second, words):
    trials(tmp_path / "out" / "untrained", 30.0, 31.0)
    trials(tmp_path / "out" / "b", 30.0, 31.0, **second)
    with pytest.raises(UserError, match=words):
        evidence.main(["--docs", str(tmp_path / "docs"), "--keep", f"other={tmp_path / 'out'}"])
    assert not (tmp_path / "docs").exists()


CLAIM = "title: T\nanswer: A\nclaims: [{sentence: a, table: t, first: b, second: c, "


@pytest.mark.parametrize(
    "head, words",
    [
        ("title: T\nanswer: A\nclaims: [{sentence: a}]", "the head of .*topic.md is none of a topic .*first"),
        ("title: T", "the head of .*topic.md is none of a topic .*answer"),
        ("- a", "the head of .*topic.md is none of a topic"),
        (CLAIM + "margin: -1}]", "topic.md: the margin of 'a' is -1: give 0 or more points"),
        (CLAIM + "alike: true}]", "topic.md: the margin of 'a' is 0.0: give more than 0 points"),
    ],
)
def test_a_topic_whose_head_says_nothing_is_refused(tmp_path, head, words):
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "topic.md").write_text(f"---\n{head}\n---\n\nWords.\n\n{topics.VERDICTS}\n")
    with pytest.raises(UserError, match=words):
        topics.read_topics(tmp_path)


@pytest.mark.parametrize("text", ["Words.\n", f"---\ntitle: T\nanswer: A\n---\nNo {topics.VERDICTS[:-1]}\n"])
def test_a_file_that_is_no_topic_is_refused(tmp_path, text):
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "topic.md").write_text(text)
    with pytest.raises(UserError, match="topic.md is no topic: give it YAML between two lines '---', then a line"):
        topics.read_topics(tmp_path)


def test_everything_that_is_kept_belongs_to_a_topic():
    named = [name for topic in topics.read_topics(SHIPPED) for name in (*topic.tables, *topic.sweeps)]
    assert sorted(named) == sorted(path.stem for path in SHIPPED.rglob("*.json"))


def test_the_page_in_docs_is_made_of_what_is_kept(tmp_path):
    shutil.copytree(ROOT / "docs/results/evidence", tmp_path / "results/evidence")
    evidence.main(["--docs", str(tmp_path)])
    assert (tmp_path / "evidence.md").read_text() == (ROOT / "docs/evidence.md").read_text()
