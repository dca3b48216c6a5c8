"""Run a tool of this repository as a part's own child."""

from __future__ import annotations

import subprocess
import sys

from pretrain.runtime.errors import UserError
from pretrain.runtime.repository import HOME

TOLD = 300  # characters of a tool's last line


def run_command(*words: str, may_fail: bool = False) -> str:
    """Run `python WORDS` in the repository; what it printed.

    Args:
        words: of the command, beginning with a path such as "tools/pretrain.py".
        may_fail: whether any exit code will do.

    Raises:
        UserError: the command failed; its last line is in the message.
    """
    done = subprocess.run(
        [sys.executable, *words], cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode and not may_fail:
        last = (done.stdout.strip().splitlines() or ["it printed nothing"])[-1]
        raise UserError(f"{words[0]} ended with exit code {done.returncode}: {last[:TOLD]}")
    return done.stdout
