"""Topics of the page of evidence, a Markdown file each: what was run, the claims, what their verdicts say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import natural_key
from tools.trials.evidence.claims import Claim, read_claim

FOLDER = "topics"  # below the kept tables
VERDICTS = "<!-- verdicts -->"  # where a topic's words give way to its verdicts
FORM = re.compile(r"---\n(.*?)\n---\n(.*)", re.DOTALL)


@dataclass(frozen=True)
class Topic:
    """One subject.

    title: its heading. answer: what was found, in a sentence or two. before, after: Markdown around its verdicts.
    claims: in their order. tables, sweeps: names of what is kept of it, in their order.
    """

    title: str
    answer: str
    before: str
    after: str
    claims: tuple[Claim, ...]
    tables: tuple[str, ...]
    sweeps: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Of its heading, as GitHub and the site make it."""
        return re.sub(r"[^\w-]", "", self.title.lower().replace(" ", "-"))


def read_topics(folder: Path) -> list[Topic]:
    """Every topic of FOLDER/topics, by its file's name.

    Each file begins with YAML between two lines "---": `title`, `answer`, and as there are any `tables`, `sweeps` and
    `claims`, which are lists. A claim has the fields of `Claim`; without a `table` it is about the topic's first.

    Raises:
        UserError: a file is no topic, or a claim says nothing.
    """
    return [_topic(path) for path in sorted((folder / FOLDER).glob("*.md"), key=lambda path: natural_key(path.stem))]


def _topic(path: Path) -> Topic:
    found = FORM.fullmatch(path.read_text(encoding="utf-8"))
    before, verdicts, after = found[2].partition(VERDICTS) if found else ("", "", "")
    if not found or not verdicts:
        raise UserError(f"{path} is no topic: give it YAML between two lines '---', then a line '{VERDICTS}'.")
    try:
        return _of_head(yaml.safe_load(found[1]), before.strip(), after.strip(), path)
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        known = "title, answer, tables, sweeps, claims"
        raise UserError(f"the head of {path} is none of a topic ({error!r}): give it {known}.") from error


def _of_head(head: dict[str, Any], before: str, after: str, path: Path) -> Topic:
    tables = tuple(head.get("tables", ()))
    first = {"table": tables[0]} if tables else {}
    claims = tuple(read_claim(first | entry, path) for entry in head.get("claims", ()))
    return Topic(str(head["title"]), str(head["answer"]), before, after, claims, tables, tuple(head.get("sweeps", ())))
