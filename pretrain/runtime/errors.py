"""The one exception that a user's mistake raises, and how a command line tool ends on it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

BAD_INPUT = 2
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, the same command goes on where this one stopped


class UserError(ValueError):
    """Bad input, told in one sentence: what is wrong, where, and how to mend it."""


class Stopped(Exception):  # noqa: N818 - no error
    """A run that was asked to stop and left all that it needs to go on, told in one sentence."""


def fail(sentence: str) -> NoReturn:
    """Print one sentence to stderr and exit with code 2."""
    sys.stdout.flush()
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def run_tool(main: Callable[[], object]) -> NoReturn:
    """Run a tool's `main`; bad input ends in one sentence and exit code 2, a defect of ours in a traceback.

    A run that was asked to stop ends with exit code 75; Ctrl-C elsewhere with one sentence and a shell's 130.
    """
    try:
        main()
    except Stopped as stopped:
        print(stopped, flush=True)
        sys.exit(STOPPED)
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.stdout.flush()
        print("interrupted: what is written is whole; the same command uses it again or begins anew.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # whoever read our output has seen enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (RuntimeError, ImportError) as error:
        if "torchvision::" in str(error):  # what `import torchvision` says when its operators do not fit torch
            fail(
                "this torch has no torchvision whose operators load (a '+cpu' build of torch beside a torchvision of "
                "the registry does this): run `pip install --force-reinstall torch torchvision` without extra indexes."
            )
        raise
    sys.exit(0)
