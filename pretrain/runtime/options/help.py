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
    default = "unset" if one.default is None or one.default == "" else _as_typed(one.default)
    rule = one.rule or Rule("(no help)")
    choices = f"one of {', '.join(map(str, rule.choices))}" if rule.choices and not callable(rule.choices) else ""
    told = "; ".join(filter(None, (rule.range(), choices)))
    text = f"{rule.help} ({told})" if told else rule.help
    body = textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"  {one.name}={default}\n{body}"


def _as_typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(_as_typed, value))}]" if isinstance(value, list) else str(value)


Listed = Callable[[], Mapping[str, Any]]  # schemas, or lists of options, by the heading under which each is listed


def add_help(
    parser: argparse.ArgumentParser, schemas: Listed, slow: tuple[tuple[str, ...], Listed] | None = None
) -> None:
    """Give a parser made with add_help=False a `--help [WORD]` that also lists the options of schemas.

    Args:
        parser: of the tool.
        schemas: returns what is listed, by heading; asked only when help is wanted.
        slow: (prefixes, more of the like). These take an import of torch. They are asked only for a WORD that begins
            with one of the prefixes or that no other option's name holds.
    """

    class Help(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, _: Any, word: Any, __: str | None = None) -> None:
            listed = _leaves(schemas())
            told = _told(listed, word or "")
            if slow and word and (word.startswith(slow[0]) or not told):
                listed |= _leaves(slow[1]())
                told = _told(listed, word)
            if not told:
                names = [one.name for leaves in listed.values() for one in leaves]
                parser.error(f"no option's name holds '{word}'; the nearest is {nearest(word, names)}.")
            if not word:
                parser.print_help()
            for heading, text in told.items():
                print(f"\n{heading}\n{text}")
            parser.exit()

    told = "show this and every option, or with WORD the options whose name holds it"
    parser.add_argument("-h", "--help", nargs="?", metavar="WORD", action=Help, help=told)


def _leaves(schemas: Mapping[str, Any]) -> dict[str, list[Option]]:
    """The options under each heading."""
    return {head: listed if isinstance(listed, list) else list(options(listed)) for head, listed in schemas.items()}


def _told(listed: Mapping[str, list[Option]], word: str) -> dict[str, str]:
    """The text under each heading that has an option with `word` in its name."""
    return {heading: text for heading, leaves in listed.items() if (text := describe(leaves, word))}
