"""Methods as the paper's Table 2 writes them: a positive gradient, a negative one and a balance factor (Eq. 13).

One file a form, which ends with the rows that the form is in, ROWS. A file that is added here is found by itself.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Iterable
from dataclasses import asdict
from importlib import import_module
from typing import Any

from pretrain.methods.row import WIDTH, EarlyForm, GradientForm, LossForm, Row, SimplifiedForm
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import fill

__all__ = [
    "ROWS",
    "TABLE_2",
    "TABLE_6",
    "WIDTH",
    "EarlyForm",
    "GradientForm",
    "LossForm",
    "Row",
    "SimplifiedForm",
    "balance_at",
    "build",
    "find",
    "keywords",
]


def _declared() -> dict[str, Row]:
    """The rows of every file of this folder by name, in the order of the paper."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    rows = [row for module in modules for row in getattr(module, "ROWS", ())]
    by_name = {row.name: row for row in sorted(rows, key=lambda row: (row.table, row.letter, row.name))}
    assert len(by_name) == len(rows), f"two rows have one name: {sorted(row.name for row in rows)}"
    return by_name


ROWS = _declared()
TABLE_2 = {name: row for name, row in ROWS.items() if row.table == 2}
# What the paper's Table 6 adds back and finds to change nothing; its numbers are not in our source.
TABLE_6 = {name: row for name, row in ROWS.items() if row.table == 6}


def build(name: str, balance: float | None = None, width: int = WIDTH, **options: Any) -> GradientForm | LossForm:
    """The form of a row, with the paper's values where nothing else is given.

    Args:
        name: of the row, in TABLE_2 or TABLE_6.
        balance: λ; None is the paper's, carried over to `width`.
        width: C, channels of a row.
        options: the row's own, such as rho=0.99; None leaves the row's value.

    Raises:
        UserError: no such row, an option that the row does not have, or a value of the wrong type or out of its range.
    """
    row = find(name)
    given = {key: value for key, value in options.items() if value is not None}
    if balance is not None:
        given["balance"] = balance
    for key in given:
        if key not in row.keywords():
            has = ", ".join(row.keywords()) or "none"
            raise UserError(f"method.{key} is not an option of {name}{_hint(key, row.keywords())}: it has {has}.")
    chosen = {"balance": given.pop("balance", row.balance_at(width))} if row.balance is not None else {}
    if row.takes_width():
        chosen["width"] = width
    own = asdict(fill(row.defaults(), given, f"method.name={name}", "method."))
    return row.form(**chosen, **own, **row.fixed)


def find(name: str) -> Row:
    """The row called `name`.

    Raises:
        UserError: there is none; the names are listed.
    """
    if name not in ROWS:
        raise UserError(
            f"method.name={name} is not a row of Table 2{_hint(name, ROWS)}: choose one of {', '.join(ROWS)}."
        )
    return ROWS[name]


def _hint(wrong: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(wrong, known, 1)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def keywords(name: str) -> tuple[str, ...]:
    """What can be overridden in a row."""
    return find(name).keywords()


def balance_at(name: str, width: int) -> float | None:
    """The paper's λ of a row, carried over from C = 2048 to rows of `width` channels; None where it has none."""
    return find(name).balance_at(width)
