"""What an option is: help, default, range, choices, and whether a run that goes on may change it."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pretrain.runtime.errors import UserError

Choices = Sequence[Any] | Callable[[], Sequence[Any]]
LARGEST = 2**63 - 1  # of a whole number: what torch and the file formats can hold

# whether a run that goes on from a checkpoint may have another value; pretrain/engine/resume.py compares
FREE = "free"  # it may, and the new value takes effect
TOLD = "told"  # it may, and since one run then has two recipes, that is said
FIXED = "fixed"  # it may not


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
    path: bool = False
    resume: str = ""
    joined: bool = False

    def known(self) -> tuple[Any, ...]:
        """The choices; empty where any value of the type will do."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    def range(self) -> str:
        """The range and the unit in words; empty where there is neither."""
        bounds = ((self.at_least, "at least"), (self.above, "above"), (self.at_most, "at most"), (self.below, "below"))
        words = [f"{word} {bound:{',' if abs(bound) > 1e5 else 'g'}}" for bound, word in bounds if bound is not None]
        return " ".join(filter(None, (" and ".join(words), self.unit)))

    def holds(self, number: float) -> bool:
        """Whether a number is finite and in the range; a whole one also has to fit into 64 bits."""
        return (
            (abs(number) <= LARGEST if isinstance(number, int) else math.isfinite(number))
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def wanted(self, number: float) -> str:
        """What a number that does not hold would have to be, in words."""
        if isinstance(number, int):
            kind = f"of at most {len(str(LARGEST))} digits" if abs(number) > LARGEST else ""
        else:
            kind = "" if math.isfinite(number) else "finite"
        return " and ".join(filter(None, (kind, self.range())))


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
    path: bool = False,
    resume: str = "",
    joined: bool = False,
) -> Any:
    """A dataclass field that carries its own documentation and range.

    Args:
        default: None makes it optional; a list is copied for every instance.
        help: one line, without the default and the range, which --help adds.
        at_least, above, at_most, below: bounds of a number, or of each number of a list.
        choices: all values, or a function that returns them where they are known only after an import.
        unit: such as "pixels".
        path: whether a text names a file or a folder; `~` at its beginning is then the home folder.
        resume: FREE, TOLD or FIXED; every option of pretraining says one.
        joined: whether a YAML file may also give a text as a list, which is kept as the text `[a,b]`.
    """
    metadata = {"option": Rule(help, at_least, above, at_most, below, choices, unit, path, resume, joined)}
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
            raise UserError(f"{name}={value} is out of range: it must be {rule.wanted(one)}.")
