"""Where the numbers come from: what a run was, and with what the results were measured."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import yaml
from jinja2 import Template

from transfer.report.collect.names import arch_name, recipe_name
from transfer.report.collect.search import Collected, Downstream, PretrainingRun, finite
from transfer.report.collect.trials import days_text
from transfer.report.render.document import Block, Facts, Table
from transfer.report.sections import Section

WORDS = yaml.safe_load((Path(__file__).parent / "run_facts.yaml").read_text(encoding="utf-8"))
RUN_FACTS = {name: Template(words) for name, words in WORDS.items()}


def build(data: Collected) -> list[Block]:
    """What the runs were, then the code, hardware and days of the results together."""
    return [*provenance_of_runs(data.runs), *([results_facts(data.results)] if data.results else [])]


def run_facts(run: PretrainingRun) -> Facts:
    """Method, network, data, schedule, code and time of one pretraining run."""
    known = {
        "get": run.setting,
        "finite": finite,
        "recipe": recipe_name(run),
        "arch": arch_name(str(run.setting("model.arch", "unknown"))),
        "seen": run.images_seen(),
        "epoch": run.last("epoch"),
        "skipped": run.last("images_skipped"),
        "logged": _period(run),
        "typed": _command(run.command),
        "folder": run.folder,
    }
    pairs = tuple((name, words.render(known)) for name, words in RUN_FACTS.items())
    return Facts(f"Pretraining run {run.name}", pairs, frozenset({"Commit", "Command", "Folder"}))


def provenance_of_runs(runs: Sequence[PretrainingRun]) -> Sequence[Facts | Table]:
    """One box for one run; of several, a box of what they share and a table of what differs."""
    facts = [run_facts(run) for run in runs]
    if len(facts) < 2:
        return facts
    names = [name for name, _ in facts[0].pairs]
    values = {name: [dict(box.pairs)[name] for box in facts] for name in names}
    differing = [name for name in names if len(set(values[name])) > 1]
    shared = tuple((name, values[name][0]) for name in names if name not in differing)
    box = Facts(f"Pretraining, the same in all {len(runs)} runs", shared, facts[0].code)
    rows = tuple((run.name, *(values[name][index] for name in differing)) for index, run in enumerate(runs))
    return [*([box] if shared else []), Table("What differs between the runs", ("Run", *differing), rows)]


def results_facts(found: Sequence[Downstream]) -> Facts:
    """Code, hardware and days of the downstream results together."""
    used = [entry.result for entry in found]
    seeds = sorted({result.seed for result in used})
    pairs = (
        ("Result files", str(len(used))),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Checkpoints", f"{len({result.checkpoint_sha256 for result in used})} different ones"),
        ("Hardware", "; ".join(sorted({result.hardware or "not recorded" for result in used}))),
        ("Commit", ", ".join(sorted({result.commit or "not recorded" for result in used}))),
        ("Date", days_text(used)),
        ("Computing time", _duration(sum(result.seconds for result in used))),
    )
    return Facts("Downstream evaluations", pairs, frozenset({"Commit"}))


def _command(text: str) -> dict[str, str]:
    """command.txt: the command line first, then lines of a word and its value."""
    first, *rest = text.splitlines() or [""]
    named = dict(line.split(" ", 1) for line in rest if " " in line and not line.endswith(" None"))
    return named | ({"command": first} if first else {})


def _period(run: PretrainingRun) -> str:
    times = [line["time"] for line in run.lines if finite(line.get("time"))]
    if not times:
        return "not recorded"
    first, last = (datetime.fromtimestamp(time, timezone.utc) for time in (min(times), max(times)))
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d %H:%M} to {end} UTC"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


SECTIONS = (Section("provenance", "Provenance", 20, build),)
