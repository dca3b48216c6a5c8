"""The one exception that a user's mistake raises, and how a command line tool ends on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

BAD_INPUT = 2


class UserError(ValueError):
    """Bad input, told in one sentence: what is wrong, where, and how to mend it."""


def fail(sentence: str) -> NoReturn:
    """Print one sentence to stderr and exit with code 2."""
    sys.stdout.flush()
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def run_tool(main: Callable[[], object]) -> NoReturn:
    """Run a tool's `main`; bad input ends in one sentence and exit code 2, a defect of ours in a traceback."""
    try:
        main()
    except UserError as error:
        fail(str(error))
    except (RuntimeError, ImportError) as error:
        if "torchvision::" in str(error):  # what `import torchvision` says when its operators do not fit torch
            fail(
                "this torch has no torchvision whose operators load (a '+cpu' build of torch beside a torchvision of "
                "the registry does this): run `pip install --force-reinstall torch torchvision` without extra indexes."
            )
        raise
    sys.exit(0)
