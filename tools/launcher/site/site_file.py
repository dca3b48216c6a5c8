"""What a cluster always needs, in one file: a YAML of the launcher's options, which a command line overrides.

It is the file of --site, else of the environment variable UNIGRAD_CLUSTER, else ~/.config/unigrad/cluster.yaml where
there is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.options.reading import nearest
from pretrain.runtime.options.text import read_yaml
from tools.launcher.site.variables import ENVIRONMENT, is_carried

VARIABLE = "UNIGRAD_CLUSTER"
EARLIER = "UNIGRAD_SITE"  # its name before, which is still read


def find_site_file(named: Path | None) -> Path | None:
    """The file that holds now; None where there is none, or where the variable is empty.

    Args: named: by --site.
    """
    if named is not None:
        return named
    for variable in (VARIABLE, EARLIER):
        if (given := os.environ.get(variable)) is not None:
            return Path(os.path.expanduser(given)) if given else None
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    usual = Path(base, "unigrad", "cluster.yaml")
    return usual if usual.is_file() else None


def site_words(path: Path, known: Mapping[str, bool]) -> list[str]:
    """The options in the file as words of a command line.

    A variable of `environment` that this shell has set too, and that goes with every job, is left to the shell.

    Args: path: of the file. known: names of the options that a site may set, and whether each may be repeated.

    Raises:
        UserError: no such file, an option that is none, or a value of the wrong form.
    """
    words = []
    for name, written in read_yaml(path, "site file").items():
        if name not in known:
            raise UserError(f"{path}: there is no option '{name}'; did you mean '{nearest(str(name), list(known))}'?")
        for value in _values(written):
            if not isinstance(value, str) or not value:
                form = "a list of them" if known[name] else "not a list"
                raise UserError(f"{path}: '{name}' has to be one plain value{', or ' if known[name] else ', '}{form}.")
            variable = value.partition("=")[0]
            if name != ENVIRONMENT or not (is_carried(variable) and variable in os.environ):
                words.append(f"--{name}={value}")
        if isinstance(written, list | dict) and not known[name]:
            raise UserError(f"{path}: '{name}' has to be one plain value, not a list.")
    return words


def _values(written: Any) -> list[Any]:
    """One value, each of a list, or KEY=VALUE of a mapping."""
    if isinstance(written, dict):
        return [f"{key}={value}" if isinstance(value, str) else value for key, value in written.items()] or [None]
    return written if isinstance(written, list) else [written]
