"""A model card from a run folder: every sentence follows from a file of the run, a result, or what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretrain.models.trunks import width_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of, write_text
from pretrain.weights.read_trunk import read_trunk
from transfer.report.collect.names import RANDOM, maker
from transfer.report.collect.search import says_synthetic, search_folders
from transfer.report.collect.trials import group_trials
from transfer.report.render.pages import environment, to_markdown
from transfer.report.sections.paper_tables import by_protocol
from transfer.report.sections.provenance import box, run_facts

NAME, EXPORT = "MODEL_CARD.md", Path("export", "trunk.pth")


def write_card(run_dir: str | Path, folders: Sequence[str | Path] = ()) -> Path:
    """Write RUN/MODEL_CARD.md from the run, its export, and its results below the run folder and `folders`.

    Raises:
        UserError: no run or no exported trunk in `run_dir`, or a folder that is missing.
    """
    folder = Path(run_dir).resolve()
    data = search_folders([folder, *folders])
    run = next((run for run in data.runs if run.folder == folder), None)
    if run is None:
        raise UserError(f"{run_dir} holds no run (metrics.jsonl beside config.yaml): give the folder of one.")
    export = folder / EXPORT
    if not export.is_file():
        raise UserError(f"{export} is missing: a run writes it with its first checkpoint, so let it train until then.")
    trunk, sha256 = read_trunk(export), sha256_of(export)
    width = width_of(trunk.arch)
    mine = [entry for entry in data.results if maker([run], entry.result) or entry.result.checkpoint_sha256 == sha256]
    trials = group_trials(mine, [run])
    card = (
        environment("md")
        .get_template("model_card.md.j2")
        .render(
            run=run,
            file=EXPORT,
            trunk=trunk,
            sha256=sha256,
            width=width,
            synthetic=says_synthetic(Path(str(run.setting("data.root", "")))),
            facts=box("Run", run_facts(run)),
            config=(folder / "config.yaml").read_text(encoding="utf-8"),
            tables=to_markdown("", list(by_protocol(trials))),
            notes=dict.fromkeys(data.notes),
            used=[entry.result for entry in mine if not entry.superseded],
            single=[one for one in trials if one.recipe != RANDOM and len(one.results) == 1],
        )
    )
    return write_text(folder / NAME, card + "\n")
