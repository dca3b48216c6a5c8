"""What a wheel installs as the package `unigrad`, with tools/ and configs/ below it: the command of that name.

Other projects have a package `tools` too. Ours is found first by this command and by what it starts, by nobody else.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run `unigrad COMMAND arguments`."""
    from pretrain.runtime.repository import HOME

    sys.path.insert(0, str(HOME))
    from tools.commands.start import main as start

    start()
