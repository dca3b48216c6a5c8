"""A model card from a run folder: every sentence follows from a file of the run, a result, or what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.models.trunks import is_timm, width_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of, write_text
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import TrunkFile
from transfer.report.collect.files import Downstream, PretrainingRun
from transfer.report.collect.names import RANDOM, maker
from transfer.report.collect.search import says_synthetic, search_folders
from transfer.report.collect.trials import group_trials
from transfer.report.render.pages import environment, to_markdown
from transfer.report.sections.paper_tables import by_protocol
from transfer.report.sections.provenance import box, run_facts
from transfer.results import Result

NAME, EXPORT = "MODEL_CARD.md", Path("export", "trunk.pth")


@dataclass(frozen=True)
class Facts:
    """What a card is made of.

    run: the run, None of a file of others. folder: of the run, or of the file. file: of the trunk, below that folder.
    results: of the run, of any of its checkpoints, and of what they are compared with. notes: what was left out.
    """

    run: PretrainingRun | None
    folder: Path
    file: Path
    trunk: TrunkFile
    sha256: str
    results: Sequence[Downstream] = ()
    notes: Sequence[str] = ()

    @property
    def own_results(self) -> list[Result]:
        """Those of this very file that are not superseded."""
        read = [entry.result for entry in self.results if not entry.superseded]
        return [one for one in read if one.checkpoint_sha256 == self.sha256]


@dataclass(frozen=True)
class Published:
    """Where the trunk of a card lies for others. home: what timm calls the place. licence: "" where nobody said it."""

    file: str
    sha256: str
    home: str
    licence: str = ""


def facts_of_run(run_dir: str | Path, folders: Sequence[str | Path] = ()) -> Facts:
    """What a card says of a run, its export, and its results below the run folder and `folders`.

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
    mine = [entry for entry in data.results if maker([run], entry.result) or entry.result.checkpoint_sha256 == sha256]
    return Facts(run, folder, EXPORT, trunk, sha256, mine, data.notes)


def card_of(facts: Facts, published: Published | None = None) -> str:
    """The card in Markdown; of weights that are published, with how others load them."""
    file, sha256 = (published.file, published.sha256) if published else (facts.file, facts.sha256)
    place = {"home": published.home, "licence": published.licence} if published else {"home": "", "licence": ""}
    shared = {"file": file, "sha256": sha256, "trunk": facts.trunk, "width": width_of(facts.trunk.arch), **place}
    shared["timm"] = is_timm(facts.trunk.arch)
    if (run := facts.run) is None:
        card = environment("md").get_template("file_card.md.j2")
        return card.render(source=facts.file.name, source_sha256=facts.sha256, **shared) + "\n"
    trials = group_trials(list(facts.results), [run])
    card = environment("md").get_template("model_card.md.j2")
    text = card.render(
        run=run,
        synthetic=says_synthetic(Path(str(run.setting("data.root", "")))),
        facts=box("Run", run_facts(run)),
        config=(facts.folder / "config.yaml").read_text(encoding="utf-8"),
        tables=to_markdown("", list(by_protocol(trials))),
        notes=dict.fromkeys(facts.notes),
        used=[entry.result for entry in facts.results if not entry.superseded],
        single=[one for one in trials if one.recipe != RANDOM and len(one.results) == 1],
        exported=facts.sha256,
        **shared,
    )
    return text + "\n"


def write_card(run_dir: str | Path, folders: Sequence[str | Path] = ()) -> Path:
    """Write RUN/MODEL_CARD.md. Args and errors as of `facts_of_run`."""
    return write_text(Path(run_dir).resolve() / NAME, card_of(facts_of_run(run_dir, folders)))
