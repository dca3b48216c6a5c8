"""What --help says of options: every one with its default, meaning and range; a word chooses among them."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pretrain.runtime.options.reading import nearest
from pretrain.runtime.options.rules import Option, Rule, options


def describe(listed: Any, word: str = "") -> str:
    """Every option whose dotted name holds `word`: name and default on one line, meaning and range below it.

    Args: listed: a schema, or a list of its options.
    """
    leaves: Iterable[Option] = listed if isinstance(listed, list) else options(listed)
    return "\n".join(_described(one) for one in leaves if word in one.name)


def _described(one: Option) -> str:
    body = textwrap.fill(meaning(one), 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"  {one.name}={default_of(one)}\n{body}"


def meaning(one: Option) -> str:
    """What an option means, with its range and choices."""
    rule = one.rule or Rule("(no help)")
    choices = f"one of {', '.join(map(str, rule.choices))}" if rule.choices and not callable(rule.choices) else ""
    told = "; ".join(filter(None, (rule.range(), choices)))
    return f"{rule.help} ({told})" if told else rule.help


def default_of(one: Option) -> str:
    """Its default, as it would be typed."""
    return "unset" if one.default is None or one.default == "" else _as_typed(one.default)


def _as_typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(_as_typed, value))}]" if isinstance(value, list) else str(value)


Listed = Callable[[], Mapping[str, Any]]  # schemas, or lists of options, by the heading under which each is listed
Slow = tuple[tuple[str, ...], Listed] | None


def add_help(parser: argparse.ArgumentParser, schemas: Listed, slow: Slow = None) -> None:
    """Give a parser made with add_help=False a `--help [WORD]` that also lists the options of schemas.

    Args:
        parser: of the tool.
        schemas: returns what is listed, by heading; asked only when help is wanted.
        slow: (prefixes, more of the like). These take an import of torch. They are asked only for a WORD that begins
            with one of the prefixes or that no other option's name holds.
    """

    told = "show this and every option, or with WORD the options whose name holds it"
    options: dict[str, Any] = {"schemas": schemas, "slow": slow, "help": told}
    parser.add_argument("-h", "--help", nargs="?", metavar="WORD", action=_Help, **options)


def listed_by(parser: argparse.ArgumentParser) -> dict[str, list[Option]]:
    """Everything that the `--help` of a parser lists beyond its own arguments, by heading; torch may be imported."""
    helps = [action for action in parser._actions if isinstance(action, _Help)]
    found: dict[str, list[Option]] = {}
    for action in helps:
        found |= _leaves(action.schemas())
        found |= _leaves(action.slow[1]()) if action.slow else {}
    return found


class _Help(argparse.Action):
    def __init__(self, *arguments: Any, schemas: Listed, slow: Slow, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.schemas, self.slow = schemas, slow

    def __call__(self, parser: argparse.ArgumentParser, _: Any, word: Any, __: str | None = None) -> None:
        listed = _leaves(self.schemas())
        told = _told(listed, word or "")
        if self.slow and word and (word.startswith(self.slow[0]) or not told):
            listed |= _leaves(self.slow[1]())
            told = _told(listed, word)
        if not told:
            names = [one.name for leaves in listed.values() for one in leaves]
            parser.error(f"no option's name holds '{word}'; the nearest is {nearest(word, names)}.")
        if not word:
            parser.print_help()
        for heading, text in told.items():
            print(f"\n{heading}\n{text}")
        parser.exit()


def _leaves(schemas: Mapping[str, Any]) -> dict[str, list[Option]]:
    """The options under each heading."""
    return {head: listed if isinstance(listed, list) else list(options(listed)) for head, listed in schemas.items()}


def _told(listed: Mapping[str, list[Option]], word: str) -> dict[str, str]:
    """The text under each heading that has an option with `word` in its name."""
    return {heading: text for heading, leaves in listed.items() if (text := describe(leaves, word))}
