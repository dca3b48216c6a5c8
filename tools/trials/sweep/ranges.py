"""What values an option is searched among: an interval or choices, read from SWEEP.yaml and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import Option, fill, option

if TYPE_CHECKING:
    from optuna.trial import Trial as Proposal


@dataclass
class Written:
    """A range as it is written. A list alone is `choices`."""

    low: float | None = option(None, "smallest value")
    high: float | None = option(None, "largest value")
    log: bool = option(False, "whether ratios count rather than differences")
    step: float | None = option(None, "distance of neighbouring values", above=0)
    points: int | None = option(None, "values of a grid from low to high", at_least=2, at_most=10_000)
    times: float | None = option(
        None, "from the row's own value divided by it to the value times it, by ratios", above=1
    )
    choices: list[str] = option([], "values, of any kind")


@dataclass(frozen=True)
class Range:
    """Either choices, as a command line spells them, or an interval. whole: of whole numbers."""

    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    points: int | None = None
    whole: bool = False
    choices: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"choices": list(self.choices)}

    def ends(self) -> tuple[Any, ...]:
        """The values that are tried on the options before anything starts: if these fit, so do those between."""
        return self.choices or (self.low, self.high)

    def suggest(self, proposal: Proposal, name: str) -> Any:
        """The value that Optuna proposes for a trial, or has proposed before."""
        if self.choices:
            return proposal.suggest_categorical(name, self.choices)
        if self.whole:
            step = int(self.step or 1)
            return proposal.suggest_int(name, int(self.low), int(self.high), log=self.log, step=step)
        return proposal.suggest_float(name, self.low, self.high, log=self.log, step=self.step)

    def grid(self) -> list[Any]:
        """Every value of a grid: the choices, the steps, or `points` values evenly apart (by ratios with `log`)."""
        if self.choices:
            return list(self.choices)
        if self.points is None:
            count = math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1
            values = [self.low + place * (self.step or 1) for place in range(count)]
        else:
            shares = [place / (self.points - 1) for place in range(self.points)]
            values = [_between(self.low, self.high, share, self.log) for share in shares]
        inside = [min(max(value, self.low), self.high) for value in values]
        return list(dict.fromkeys(round(value) for value in inside)) if self.whole else inside


def _between(low: float, high: float, share: float, log: bool) -> float:
    return low * (high / low) ** share if log else low + share * (high - low)


def read_range(written: Any, searched: Option, where: str, gridded: bool) -> Range:
    """One entry of `search`.

    Args:
        written: a mapping as `Written`, or a list of choices.
        searched: the option, with the value that the row has.
        where: the file and the name, for messages.
        gridded: whether every value has to be listed.

    Raises:
        UserError: an unknown key, or a range in which there is nothing to search.
    """
    tree = {"choices": written} if isinstance(written, list) else written
    if not isinstance(tree, Mapping):
        raise UserError(f"{where} has to be a mapping such as {{low: 1, high: 100, log: true}}, or a list of choices.")
    given = fill(Written(), tree, where)
    if given.choices:
        return _choices(given, where)
    if not any(kind in searched.type for kind in ("int", "float")):
        raise UserError(f"{where} is no number: list its values as choices, such as [{searched.default}, ...].")
    whole = "int" in searched.type and "float" not in searched.type
    if given.times is not None:
        given = _around(given, searched.default, where)
    _check_interval(given, whole, where)
    if gridded and given.points is None and given.step is None and not whole:
        raise UserError(f"{where}: a grid lists every value: add points: N or step: X, or list choices.")
    assert given.low is not None and given.high is not None
    convert = round if whole else float
    return Range(convert(given.low), convert(given.high), given.log, given.step, given.points, whole)


def _choices(given: Written, where: str) -> Range:
    beside = [name for name, value in vars(given).items() if name != "choices" and value not in (None, False)]
    if beside:
        raise UserError(f"{where} has choices and {beside[0]}: keep one of them.")
    if len(set(given.choices)) < 2 or len(set(given.choices)) < len(given.choices):
        raise UserError(f"{where} has choices {given.choices}: give at least two, each once.")
    return Range(choices=tuple(map(str, given.choices)))


def _around(given: Written, value: Any, where: str) -> Written:
    """`times` as an interval around the row's own value."""
    assert given.times is not None
    if given.low is not None or given.high is not None:
        raise UserError(f"{where} has times and {'high' if given.low is None else 'low'}: keep one of them.")
    if not isinstance(value, (int, float)) or value <= 0:
        raise UserError(f"{where}: times needs a value above 0 in the row, which has {value}: give low and high.")
    return Written(value / given.times, value * given.times, True, given.step, given.points)


def _check_interval(given: Written, whole: bool, where: str) -> None:
    low, high = given.low, given.high
    if low is None or high is None:
        raise UserError(f"{where} lacks {'low' if low is None else 'high'}: give low and high, times, or choices.")
    shown = f"from {low:g} to {high:g}"
    if not low < high:
        raise UserError(f"{where} goes {shown}, where there is nothing to search: low has to be below high.")
    if given.log and low <= 0:
        raise UserError(f"{where} goes {shown} by ratios (log), which needs low above 0.")
    if given.step is not None and (given.log or given.points):
        raise UserError(f"{where} has step and {'log' if given.log else 'points'}: keep one of them.")
    if given.step is not None and given.step > high - low:
        raise UserError(f"{where} goes {shown} in steps of {given.step:g}: there is no second value.")
    if whole and any(value is not None and value != round(value) for value in (low, high, given.step)):
        if given.times is None and not given.log:
            raise UserError(f"{where} takes whole numbers, but goes {shown}.")
        if round(low) == round(high) or round(low) < 1:
            raise UserError(f"{where} takes whole numbers, of which there are too few {shown}.")
