"""Filling a schema: its defaults, then a YAML file, then `section.key=value` of a command line."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Protocol, TypeVar, runtime_checkable

import yaml

from pretrain.runtime.errors import UserError
from pretrain.runtime.options.rules import check, options
from pretrain.runtime.options.text import NULLS, read_yaml, typed
from pretrain.runtime.urls import hide

Schema = TypeVar("Schema")
Tree = dict[Any, Any]  # of texts, as they are written
Updates = Sequence[tuple[str, Tree]]  # (where it is written, what is written)


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


def load(schema: type[Schema], path: str | Path | None, overrides: Sequence[str] = ()) -> Schema:
    """Defaults of `schema`, then the YAML at `path` (only what differs), then `section.key=value` overrides.

    A text is taken to the letter, but that a path's `~` becomes the home folder.

    Raises:
        UserError: unreadable file, unknown key (with the nearest valid name), or a value of the wrong type.
    """
    updates = [] if path is None else [(str(path), read_yaml(Path(path)))]
    updates += [(f"override '{override}'", _of_override(override)) for override in overrides]
    config = _opened(schema, updates)
    for where, tree in updates:
        _assign(config, tree, where, config)
    _expand(config)
    return config


def _of_override(override: str) -> Tree:
    """`a.b=c` as {a: {b: c}}."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"override '{override}' is not of the form section.key=value.")
    *sections, name = key.split(".")
    tree: Tree = {name: value}
    for section in reversed(sections):
        tree = {section: tree}
    return tree


def _opened(schema: type[Schema], updates: Updates) -> Schema:
    """The defaults of a schema whose open sections have the further options of what the updates choose."""
    config = schema()
    for field in dataclasses.fields(config):  # type: ignore[arg-type]  # every schema is a dataclass
        section = getattr(config, field.name)
        if isinstance(section, Open):
            nodes = [(where, update.get(field.name)) for where, update in updates]
            written = [(where, node) for where, node in nodes if isinstance(node, dict)]
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
        if value not in NULLS:
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
    filled = copy.deepcopy(defaults)
    _assign(filled, given, where, filled)
    check(filled, prefix)
    return filled


def _assign(section: Any, tree: Mapping[Any, Any], where: str, whole: Any, prefix: str = "") -> None:
    """Set the options of a section that `tree` names; whole: the schema, for the nearest name of an unknown one."""
    kinds = typing.get_type_hints(type(section))
    fields = {field.name: field.metadata.get("option") for field in dataclasses.fields(section)}
    names = list(fields)
    for key, written in tree.items():
        if isinstance(written, list) and (rule := fields.get(key)) is not None and rule.joined:
            written = f"[{','.join(map(str, written))}]"
        name = f"{prefix}{key}"
        below = getattr(section, key) if key in names else None
        if dataclasses.is_dataclass(below):
            if isinstance(written, Mapping):
                _assign(below, written, where, whole, f"{name}.")
            elif written not in NULLS:
                raise UserError(f"{where}: '{name}' is a section of options: write {name}.OPTION=value.")
            continue
        if key not in names or isinstance(written, Mapping):
            wrong = f"{name}.{next(iter(written), '')}" if isinstance(written, Mapping) and written else name
            known = [one.name for one in options(whole)]
            hint = f"; did you mean '{nearest(wrong, known)}'?" if known else ": it has none."
            raise UserError(f"{where}: there is no option '{wrong}'{hint}")
        try:
            setattr(section, key, typed(kinds[key], written))
        except ValueError as error:
            raise UserError(f"{where}: option '{name}' has the wrong type: {error}.") from error


def _expand(section: Any) -> None:
    """Put the home folder in the place of a path's `~`, and marks in that of a URL's secrets, here and nowhere else."""
    for field in dataclasses.fields(section):
        value, rule = getattr(section, field.name), field.metadata.get("option")
        if dataclasses.is_dataclass(value):
            _expand(value)
        elif rule is not None and rule.path and isinstance(value, str):
            setattr(section, field.name, hide(os.path.expanduser(value)))


def nearest(wrong: str, valid: Sequence[str]) -> str:
    """The valid dotted name that is most like a wrong one, as a whole or in its last word."""

    def likeness(name: str) -> float:
        pairs = ((wrong, name), (wrong.rpartition(".")[2], name.rpartition(".")[2]))
        return max(difflib.SequenceMatcher(None, first, second).ratio() for first, second in pairs)

    return max(valid, key=likeness)


def dump(config: Any) -> str:
    """The resolved configuration as YAML, an option a line, which `load` reads back to the same values."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True, width=1_000_000)
