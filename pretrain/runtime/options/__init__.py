"""Options as dataclass fields with help, range and unit; YAML and `section.key=value` fill them; --help lists them.

A schema is a dataclass whose fields are made by `option`, or are dataclasses themselves (sections). `load` fills one,
`check` refuses values out of their range, `add_help` lists it. A section may have further options, which depend on what
is chosen in it (`Open`). Nothing here imports torch.
"""

from pretrain.runtime.options.help import add_help, describe
from pretrain.runtime.options.reading import Further, Open, dump, fill, load, nearest, unset
from pretrain.runtime.options.rules import FIXED, FREE, TOLD, Option, Rule, check, option, options

__all__ = [
    "FIXED",
    "FREE",
    "TOLD",
    "Further",
    "Open",
    "Option",
    "Rule",
    "add_help",
    "check",
    "describe",
    "dump",
    "fill",
    "load",
    "nearest",
    "option",
    "options",
    "unset",
]
