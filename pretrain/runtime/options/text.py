"""One reader of what people write: a text, from a YAML file or a command line, to the type that its option has.

A text option is taken to the letter: `0123`, `2024_05`, `exp #2`, `%j`, `${a}` and `*x` are names like others. So what
a YAML file holds is kept as it is written there, until its option says what it is.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import yaml

from pretrain.runtime.errors import UserError

NULLS = ("null", "~", "")
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NAMES = {int: "whole number", float: "number", bool: "true or false", str: "text"}


class Plain(str):
    """A text of a YAML file without quotes, for which `null` means nothing."""


class _Reader(yaml.SafeLoader):
    """Mappings and lists of texts, with YAML's anchors, merges and tags of plain values."""


def _scalar(_: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    text = str(node.value)
    return text if node.style else Plain(text)


def _mapping(reader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    written = [str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    if twice := sorted({key for key in written if written.count(key) > 1}):
        raise yaml.constructor.ConstructorError(None, None, f"found {twice[0]} twice", node.start_mark)
    reader.flatten_mapping(node)
    return reader.construct_mapping(node, deep=True)


for _kind in ("null", "bool", "int", "float", "timestamp", "str"):
    _Reader.add_constructor(f"tag:yaml.org,2002:{_kind}", _scalar)
_Reader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_yaml(path: Path, what: str = "configuration") -> dict[Any, Any]:
    """The mapping of a YAML file, whose leaves are texts as they are written, or lists.

    Args: what: stands before the path in messages.

    Raises:
        UserError: no such file, no YAML, or no mapping.
    """
    if not path.is_file():
        raise UserError(f"{what} {path} is not a file: give the path of a YAML, such as one under configs/.")
    try:
        written = yaml.load(path.read_bytes(), _Reader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"{what} {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if isinstance(written, Plain) and written in NULLS or written is None:
        return {}
    if not isinstance(written, dict):
        kind = "list" if isinstance(written, list) else "single text"
        raise UserError(f"{what} {path} holds a {kind}: it has to hold lines of the form `option: value`.")
    return written


def typed(kind: Any, written: Any) -> Any:
    """A written text, or a value of Python, as a value of `kind`.

    Args: kind: str, bool, int, float, a list of one of them, one of these or None, or one of these or a word.

    Raises:
        ValueError: it is none; the message says what it is not.
    """
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        words = [one for one in typing.get_args(kind) if typing.get_origin(one) is typing.Literal]
        if any(written in typing.get_args(word) for word in words):
            return str(written)
        if not words and (written is None or (isinstance(written, str) and written in NULLS)):
            return None
        (kind,) = [one for one in typing.get_args(kind) if one not in (type(None), *words)]
    if typing.get_origin(kind) is list:
        (inner,) = typing.get_args(kind)
        return [typed(inner, one) for one in (_items(written) if isinstance(written, str) else _as_list(written))]
    if isinstance(written, str):
        return _of_text(kind, written)
    fits = isinstance(written, (int, float) if kind is float else kind)
    if not fits or (isinstance(written, bool) and kind is not bool):
        raise ValueError(f"{written!r} is no {NAMES[kind]}")
    return kind(written)


def _as_list(written: Any) -> list[Any]:
    if not isinstance(written, list):
        raise ValueError(f"{written!r} is no list")
    return written


def _items(text: str) -> list[str]:
    """The items of `[a,b]` or `a,b`, without quotes around them."""
    inner = text.strip().removeprefix("[").removesuffix("]").strip()
    items = [item.strip() for item in inner.split(",")] if inner else []
    return [item[1:-1] if len(item) > 1 and item[0] == item[-1] and item[0] in "'\"" else item for item in items]


def _of_text(kind: Any, text: str) -> Any:
    if kind is str:
        if isinstance(text, Plain) and text in NULLS:
            raise ValueError("null is no text: write '' for none, and quote a name that is spelled so")
        return str(text)
    if kind is bool:
        word = text.strip().lower()
        if word not in TRUE + FALSE:
            raise ValueError(f"'{text}' is not true or false")
        return word in TRUE
    try:
        return kind(text.strip().replace(".inf", "inf").replace(".nan", "nan") if kind is float else text.strip())
    except ValueError:
        raise ValueError(f"'{text}' is no {NAMES[kind]}") from None
