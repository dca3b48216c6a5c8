"""URLs of data, and what is secret in them: kept in this process's memory, never in what is written or shown.

A user name with its password, and a query, which may be a signature, are replaced by a mark such as `redacted-2`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pretrain.runtime.errors import UserError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
COLLAPSED = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")  # what a path makes of a URL
WEB = ("http", "https")  # whose addresses have queries; elsewhere ? stands for any letter of a name
FIRST = (0.5, 1.0, 2.0, 4.0)  # seconds before each further try to reach a server for the first time, as after a typo
BUSY = (408, 425, 429)  # statuses below 500 after which asking again may help
MARK = r"redacted(?:-\d+)?"
MARKED = re.compile(rf"(?<=://){MARK}(?=@)|(?<=\?){MARK}$")
HOST = re.compile(r"(\[.*\]|[^:]*)(:\d*)?")  # with or without its port
OPTION = re.compile(r"[\w.-]+=")  # before the value of one
_secrets: dict[str, str] = {}  # by their marks


def is_url(text: object) -> bool:
    """Whether a text begins as URLs do, with a scheme and two slashes."""
    return isinstance(text, str) and URL.match(text) is not None


def pieces(text: str) -> list[str]:
    """The roots of `[A,B]` as they are written; commas inside braces belong to a pattern."""
    found, depth = [""], 0
    for one in text.strip()[1:-1]:
        depth += (one == "{") - (one == "}")
        if one == "," and not depth:
            found.append("")
        else:
            found[-1] += one
    return found


def hide(text: str) -> str:
    """A root, several as `[A,B]`, or a word such as `data.root=URL`, with marks in the place of what is secret."""
    named = OPTION.match(text)
    head, value = (named[0], text[named.end() :]) if named else ("", text)
    if value.startswith("[") and value.endswith("]"):
        return f"{head}[{','.join(map(_hidden, pieces(value)))}]"
    return f"{head}{_hidden(value)}"


def reveal(url: str) -> str:
    """A URL with its secrets, from what `hide` made of it in this process.

    Raises:
        UserError: it was hidden in another process, and read from a record of that.
    """

    def secret(mark: re.Match[str]) -> str:
        if mark[0] not in _secrets:
            raise UserError(f"{url} says '{mark[0]}' where its credentials stood: give the URL with them again.")
        return _secrets[mark[0]]

    return MARKED.sub(secret, url)


def below(root: str, name: str) -> str:
    """What is called so below a path or a URL; a query of the URL is also that of what is below."""
    if not is_url(root):
        return os.path.join(root, name)
    address, query = split(root)
    return f"{address.rstrip('/')}/{name}{query}"


@dataclass(frozen=True)
class Address:
    """A URL without its secrets, which go with it to another process."""

    name: str

    def __str__(self) -> str:
        return self.name

    def __getstate__(self) -> dict[str, Any]:
        marks = MARKED.findall(self.name)
        return {"name": self.name, "secrets": {mark: _secrets[mark] for mark in marks if mark in _secrets}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "name", state["name"])
        _secrets.update(state["secrets"])


def spelled(path: object) -> str:
    """A path in words; one that was made from a URL has both slashes again."""
    return COLLAPSED.sub(r"\1://", str(path))


def split(url: str) -> tuple[str, str]:
    """A URL without its query, and the query with its question mark, or ""."""
    if urlsplit(url).scheme.lower() not in WEB:
        return url, ""
    address, mark, query = url.partition("?")
    return address, mark + query


def _hidden(text: str) -> str:
    found = URL.search(text)
    if found is None:
        return text
    head, rest = text[: found.end()], text[found.end() :]
    web = found[0][:-3].lower() in WEB
    cut = min((rest.find(one) for one in ("?#" if web else "?") if one in rest), default=len(rest))
    address, query = rest[:cut], rest[cut:]
    host, slash, path = address.partition("/")
    if "@" in path and "@" not in host and not HOST.fullmatch(host):  # a password with a slash in it
        host, slash, path = address[: address.rfind("@") + 1], "", address[address.rfind("@") + 1 :]
    user, at, machine = host.rpartition("@")
    if at and (web or ":" in user) and not re.fullmatch(MARK, user):
        host = f"{_mark(user)}@{machine}"
    if (web or "=" in query) and query.strip("?#") and not re.fullmatch(MARK, query[1:]):
        query = f"?{_mark(query[1:])}"
    return f"{head}{host}{slash}{path}{query}"


def _mark(secret: str) -> str:
    """The mark of a secret, the same one each time."""
    known = {held: mark for mark, held in _secrets.items()}
    if secret not in known:
        known[secret] = f"redacted-{len(_secrets) + 1}" if _secrets else "redacted"
        _secrets[known[secret]] = secret
    return known[secret]
