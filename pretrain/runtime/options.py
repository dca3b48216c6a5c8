"""Options as dataclass fields with help, range and unit; YAML and `section.key=value` fill them; --help lists them.

A schema is a dataclass whose fields are made by `option`, or are dataclasses themselves (sections). `load` fills one,
`check` refuses values out of their range, `describe` lists it for --help. Nothing here imports torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from pretrain.runtime.errors import UserError

Schema = TypeVar("Schema")
Choices = Sequence[Any] | Callable[[], Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Rule:
    """What an option means and what it may be; `option` says what each field is."""

    help: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: Choices = ()
    unit: str = ""

    def known(self) -> tuple[Any, ...]:
        """The choices; empty where any value of the type will do."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    def range(self) -> str:
        """The range and the unit in words; empty where there is neither."""
        bounds = ((self.at_least, "at least"), (self.above, "above"), (self.at_most, "at most"), (self.below, "below"))
        words = [f"{word} {bound:g}" for bound, word in bounds if bound is not None]
        return " ".join(filter(None, (" and ".join(words), self.unit)))

    def holds(self, number: float) -> bool:
        """Whether a number is finite and in the range."""
        return (
            math.isfinite(number)
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )


def option(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Choices = (),
    unit: str = "",
) -> Any:
    """A dataclass field that carries its own documentation and range.

    Args: default: None makes it optional; a list is copied for every instance. help: one line, without the default and
        the range, which --help adds. at_least, above, at_most, below: bounds of a number, or of each number of a list.
        choices: all values, or a function that returns them where they are known only after an import. unit: such as
        "pixels".
    """
    metadata = {"option": Rule(help, at_least, above, at_most, below, choices, unit)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Option:
    """A leaf of a schema. name: dotted, as it is typed. rule: None where its author gave none."""

    name: str
    type: str
    default: Any
    rule: Rule | None


def options(schema: type, prefix: str = "") -> Iterator[Option]:
    """Every leaf of a schema, in the order in which it is written."""
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.default_factory):
            yield from options(field.default_factory, f"{prefix}{field.name}.")
            continue
        made = field.default_factory is not dataclasses.MISSING
        default = field.default_factory() if made else field.default
        kind = field.type if isinstance(field.type, str) else field.type.__name__
        yield Option(f"{prefix}{field.name}", kind, default, field.metadata.get("option"))


def check(config: Any, prefix: str = "") -> None:
    """Refuse values that are not among an option's choices, out of its range, or not finite.

    Raises:
        UserError: naming the option, its value and what it may be.
    """
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            check(value, f"{name}.")
        elif (rule := field.metadata.get("option")) is not None and value is not None:
            _check_value(name, value, rule)


def _check_value(name: str, value: Any, rule: Rule) -> None:
    for one in value if isinstance(value, list) else [value]:
        if rule.choices and one not in rule.known():
            known = [str(choice) for choice in rule.known()]
            nearest = difflib.get_close_matches(str(one), known, 1)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            raise UserError(f"{name}={value} is not known{hint}: choose one of {', '.join(known)}.")
        if isinstance(one, (int, float)) and not isinstance(one, bool) and not rule.holds(one):
            raise UserError(f"{name}={value} is out of range: it must be {rule.range() or 'a finite number'}.")


def load(schema: type[Schema], path: str | Path | None, overrides: Sequence[str] = ()) -> Schema:
    """Defaults of `schema`, then the YAML at `path` (only what differs), then `section.key=value` overrides.

    Raises:
        UserError: unreadable file, unknown key (with the nearest valid name), or a value of the wrong type.
    """
    config = OmegaConf.structured(schema)
    if path is not None:
        if not Path(path).is_file():
            raise UserError(f"configuration {path} is not a file: give the path of a YAML, such as one under configs/.")
        try:
            written = OmegaConf.load(path)
        except Exception as error:  # the YAML parser raises many types; each means the same to the reader
            raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
        config = _merge(config, written, str(path), schema)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise UserError(f"override '{override}' is not of the form section.key=value.")
        config = _merge(config, OmegaConf.from_dotlist([override]), f"override '{override}'", schema)
    return OmegaConf.to_object(config)


def _merge(config: Any, update: Any, where: str, schema: type) -> Any:
    try:
        return OmegaConf.merge(config, update)
    except ConfigKeyError as error:
        valid = _names(OmegaConf.structured(schema))
        wrong = next((name for name in _names(update) if name not in valid), str(error.full_key))
        raise UserError(f"{where}: there is no option '{wrong}'; did you mean '{nearest(wrong, valid)}'?") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{where}: option '{error.full_key}' has the wrong type: {reason}.") from error


def nearest(wrong: str, valid: Sequence[str]) -> str:
    """The valid dotted name that is most like a wrong one, as a whole or in its last word."""

    def likeness(name: str) -> float:
        pairs = ((wrong, name), (wrong.rpartition(".")[2], name.rpartition(".")[2]))
        return max(difflib.SequenceMatcher(None, first, second).ratio() for first, second in pairs)

    return max(valid, key=likeness)


def _names(config: Any, prefix: str = "") -> list[str]:
    """Dotted names of all leaves."""
    names = []
    for key in config:
        child = config._get_node(key)
        names += _names(child, f"{prefix}{key}.") if OmegaConf.is_dict(child) else [f"{prefix}{key}"]
    return names


def dump(config: Any) -> str:
    """The resolved configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def describe(schema: type, word: str = "") -> str:
    """Every option whose dotted name holds `word`: name and default on one line, meaning and range below it."""
    return "\n".join(_described(one) for one in options(schema) if word in one.name)


def _described(one: Option) -> str:
    default = "unset" if one.default is None or one.default == "" else _written(one.default)
    rule = one.rule or Rule("(no help)")
    choices = f"one of {', '.join(map(str, rule.choices))}" if rule.choices and not callable(rule.choices) else ""
    told = "; ".join(filter(None, (rule.range(), choices)))
    text = f"{rule.help} ({told})" if told else rule.help
    body = textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"  {one.name}={default}\n{body}"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(_written, value))}]" if isinstance(value, list) else str(value)


def add_help(parser: argparse.ArgumentParser, schemas: Callable[[], dict[str, type]]) -> None:
    """Give a parser made with add_help=False a `--help [WORD]` that also lists the options of schemas.

    Args: schemas: returns the schemas by the heading under which each is listed; asked only when help is wanted.
    """

    class Help(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, _: Any, word: Any, __: str | None = None) -> None:
            listed = schemas()
            told = {heading: text for heading, schema in listed.items() if (text := describe(schema, word or ""))}
            if not told:
                names = [one.name for schema in listed.values() for one in options(schema)]
                parser.error(f"no option's name holds '{word}'; the nearest is {nearest(word, names)}.")
            if not word:
                parser.print_help()
            for heading, text in told.items():
                print(f"\n{heading}\n{text}")
            parser.exit()

    told = "show this and every option, or with WORD the options whose name holds it"
    parser.add_argument("-h", "--help", nargs="?", metavar="WORD", action=Help, help=told)
