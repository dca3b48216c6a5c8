"""Run a tool of this repository as a part's own child."""

from __future__ import annotations

import os
import subprocess
import sys

from pretrain.runtime.errors import UserError
from pretrain.runtime.repository import HOME

TOLD = 300  # characters of a tool's last line


def run_command(*words: str, may_fail: bool = False) -> str:
    """Run `python WORDS` in the repository; what it printed, which is passed on line by line as well.

    So the last words of a part that runs out of time are those of the tool that it waited for.

    Args:
        words: of the command, beginning with a path such as "tools/pretrain.py".
        may_fail: whether any exit code will do.

    Raises:
        UserError: the command failed; its last line is in the message.
    """
    lines = []
    command, at_once = [sys.executable, *words], os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=HOME, env=at_once, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as tool:
        assert tool.stdout is not None
        for line in tool.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    told = "".join(lines)
    if tool.returncode and not may_fail:
        last = (told.strip().splitlines() or ["it printed nothing"])[-1]
        raise UserError(f"{words[0]} ended with exit code {tool.returncode}: {last[:TOLD]}")
    return told
