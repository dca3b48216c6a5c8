"""What a cluster always needs, in one file: a YAML of the launcher's options, which a command line overrides.

It is named by --site or by the environment variable UNIGRAD_SITE.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.options.reading import nearest
from pretrain.runtime.options.text import read_yaml

VARIABLE = "UNIGRAD_SITE"


def site_words(path: Path | None, known: Sequence[str]) -> list[str]:
    """The options in the file as words of a command line; none where no file is named.

    Args: path: of --site; None takes the variable's. known: names of the options that a site may set.

    Raises:
        UserError: no such file, or an option that is none or that takes one plain value.
    """
    if path is None:
        named = os.environ.get(VARIABLE, "")
        path = Path(os.path.expanduser(named)) if named else None
    if path is None:
        return []
    words = []
    for name, written in read_yaml(path, "site file").items():
        if name not in known:
            raise UserError(f"{path}: there is no option '{name}'; did you mean '{nearest(str(name), known)}'?")
        for value in written if isinstance(written, list) else [written]:
            if not isinstance(value, str) or not value:
                raise UserError(f"{path}: '{name}' has to be one plain value, or a list of them for slurm.")
            words.append(f"--{name}={value}")
    return words
