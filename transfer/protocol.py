"""Protocols by name: the options under which a number may stand beside published ones, and where these are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NONE = "none"  # the reference of what was measured under other options


@dataclass(frozen=True)
class Protocol:
    """A published protocol.

    Args:
        name: as results and published tables have it.
        reference: who published numbers under it.
        options: each option that decides, with its value; a list is one of several that fit.
    """

    name: str
    reference: str
    options: Mapping[str, Any]

    def other(self, settings: Mapping[str, Any]) -> list[str]:
        """Names of the options in which `settings` differ; empty where the protocol holds."""
        return [name for name, fits in self.options.items() if settings.get(name) not in _values(fits)]

    def told(self, settings: Mapping[str, Any], own: str, published_set: bool = True) -> dict[str, str]:
        """What a result says of it, {"protocol", "reference"}: its own name where the protocol holds.

        Args: settings of the evaluation. own: what it is called with other settings, or on data of one's own.
        """
        other = self.other(settings)
        if published_set and not other:
            return {"protocol": self.name, "reference": self.reference}
        why = f"with other {', '.join(other)}" if other else "on own data"
        return {"protocol": f"{own} {why}", "reference": NONE}


def _values(fits: Any) -> list[Any]:
    return fits if isinstance(fits, list) else [fits]
