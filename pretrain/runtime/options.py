"""Options as dataclass fields with help, range and unit; YAML and `section.key=value` fill them; --help lists them.

A schema is a dataclass whose fields are made by `option`, or are dataclasses themselves (sections). `load` fills one,
`check` refuses values out of their range, `describe` lists it for --help. A section may have further options, which
depend on what is chosen in it (`Open`). Nothing here imports torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import math
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Protocol, TypeVar, runtime_checkable

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from pretrain.runtime.errors import UserError

Schema = TypeVar("Schema")
Choices = Sequence[Any] | Callable[[], Sequence[Any]]
Updates = Sequence[tuple[str, DictConfig]]  # (where it is written, what is written)


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

    Args:
        default: None makes it optional; a list is copied for every instance.
        help: one line, without the default and the range, which --help adds.
        at_least, above, at_most, below: bounds of a number, or of each number of a list.
        choices: all values, or a function that returns them where they are known only after an import.
        unit: such as "pixels".
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


@runtime_checkable
class Open(Protocol):
    """A section of a schema that has further options, which depend on what is chosen in it."""

    @staticmethod
    def further(written: Mapping[str, Any]) -> Further:
        """What the choice brings. written: all that a YAML and the command line say in this section, unchecked."""


class Further(NamedTuple):
    """The further options of an open section.

    Args: chosen: the name of what was chosen, for messages. schema: a dataclass of its options. elsewhere: names of
        options of other choices, for which null may still be written.
    """

    chosen: str
    schema: type
    elsewhere: frozenset[str] = frozenset()


def options(schema: Any, prefix: str = "") -> Iterator[Option]:
    """Every leaf of a schema, in the order in which it is written; of an instance, with its values as the defaults."""
    config = schema() if isinstance(schema, type) else schema
    for field in dataclasses.fields(config):
        default = getattr(config, field.name)
        if dataclasses.is_dataclass(default):
            yield from options(default, f"{prefix}{field.name}.")
            continue
        kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
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
            finite = "" if math.isfinite(one) else "finite and " if rule.range() else "finite"
            raise UserError(f"{name}={value} is out of range: it must be {finite}{rule.range()}.")


def load(schema: type[Schema], path: str | Path | None, overrides: Sequence[str] = ()) -> Schema:
    """Defaults of `schema`, then the YAML at `path` (only what differs), then `section.key=value` overrides.

    Raises:
        UserError: unreadable file, unknown key (with the nearest valid name), or a value of the wrong type.
    """
    updates = [] if path is None else [(str(path), _written_at(Path(path)))]
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise UserError(f"override '{override}' is not of the form section.key=value.")
        updates.append((f"override '{override}'", OmegaConf.from_dotlist([override])))
    config = OmegaConf.structured(_opened(schema, updates))
    for where, update in updates:
        config = _merge(config, update, where)
    return typing.cast(Schema, OmegaConf.to_object(config))


def _written_at(path: Path) -> DictConfig:
    if not path.is_file():
        raise UserError(f"configuration {path} is not a file: give the path of a YAML, such as one under configs/.")
    try:
        written = OmegaConf.load(path)
    except Exception as error:  # the YAML parser raises many types; each means the same to the reader
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(written, DictConfig):
        raise UserError(f"{path} holds a list: it has to hold lines of the form `option: value`.")
    return written


def _opened(schema: type[Schema], updates: Updates) -> Schema:
    """The defaults of a schema whose open sections have the further options of what the updates choose."""
    config = schema()
    for field in dataclasses.fields(config):  # type: ignore[arg-type]  # every schema is a dataclass
        section = getattr(config, field.name)
        if isinstance(section, Open):
            nodes = [(where, update.get(field.name)) for where, update in updates]
            written = [(where, node) for where, node in nodes if isinstance(node, DictConfig)]
            further = section.further({str(key): value for _, node in written for key, value in node.items()})
            setattr(config, field.name, unset(type(section), further.schema)())
            _leave_out(field.name, written, further)
    return config


def _leave_out(section: str, written: Updates, further: Further) -> None:
    """Remove the options of other choices where they end at null; refuse the others."""
    own = [field.name for field in dataclasses.fields(further.schema)]
    last = {key: (where, node[key]) for where, node in written for key in node}
    for key in further.elsewhere.intersection(last).difference(own):
        where, value = last[key]
        if value is not None:
            raise UserError(
                f"{where}: {section}.{key} is not an option of {further.chosen}: it has {', '.join(own) or 'none'}."
            )
        for _, node in written:
            node.pop(key, None)


@functools.cache
def unset(section: type, further: type) -> type:
    """`section` with the options of `further` after its own, all at null, which leaves the value that `further` has."""
    types = typing.get_type_hints(further)
    fields = [
        (field.name, Optional[types[field.name]], dataclasses.field(default=None, metadata=field.metadata))  # noqa: UP045
        for field in dataclasses.fields(further)
    ]
    return dataclasses.make_dataclass(section.__name__, fields, bases=(section,))


def fill(defaults: Schema, given: Mapping[str, Any], where: str, prefix: str = "") -> Schema:
    """A copy of an instance of a schema with the given values in place of its own.

    Args:
        defaults: an instance of a dataclass whose fields are made by `option`.
        given: values by name.
        where: what is filled, for messages.
        prefix: of the names in messages about ranges, such as "method.".

    Raises:
        UserError: an unknown name, or a value of the wrong type or out of its range.
    """
    merged = _merge(OmegaConf.structured(defaults), OmegaConf.create(dict(given)), where)
    filled = typing.cast(Schema, OmegaConf.to_object(merged))
    check(filled, prefix)
    return filled


def _merge(config: DictConfig, update: DictConfig, where: str) -> DictConfig:
    try:
        return typing.cast(DictConfig, OmegaConf.merge(config, update))
    except ConfigKeyError as error:
        valid = _names(config)
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


def add_help(parser: argparse.ArgumentParser, schemas: Listed, slow: tuple[str, Listed] | None = None) -> None:
    """Give a parser made with add_help=False a `--help [WORD]` that also lists the options of schemas.

    Args:
        parser: of the tool.
        schemas: returns what is listed, by heading; asked only when help is wanted.
        slow: (prefix, more of the like). These take an import of torch. They are asked only for a WORD that begins
            with the prefix or that no other option's name holds.
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
