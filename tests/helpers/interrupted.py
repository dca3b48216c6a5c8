"""Run a tool of which all processes get Ctrl-C at a chosen moment: MOMENT START_METHOD TIMES TOOL ARGUMENTS...

Run as a script, in a session of its own. The moment is met in the libraries, so that it is the same in every run:
import, while torchvision is imported; start, when a first worker was started; transfer, while a first tensor comes from
a worker; destructor, while a loader's workers are shut down. TIMES is once, or often: then every 20 ms from there on.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from multiprocessing import connection, process

MAIN = os.getpid()
DONE: list[str] = []


def press(times):
    """Send what the terminal sends at Ctrl-C, at the first call in the tool's own process."""
    if not DONE and os.getpid() == MAIN:
        DONE.append(times)
        if times == "often":
            threading.Thread(target=keep_pressing, daemon=True).start()
        os.killpg(0, signal.SIGINT)


def keep_pressing():
    while True:
        time.sleep(0.02)
        os.killpg(0, signal.SIGINT)


class Imports:
    """A finder that finds nothing."""

    def __init__(self, times):
        self.times = times

    def find_spec(self, name, path=None, target=None):
        if name.startswith("torchvision"):
            press(self.times)


def before(owner, name, call):
    """Let `call` come before a method or function."""
    own = getattr(owner, name)

    def both(*arguments, **keywords):
        call()
        return own(*arguments, **keywords)

    setattr(owner, name, both)


def arrange(moment, times):
    if moment == "import":
        sys.meta_path.insert(0, Imports(times))
    elif moment == "start":
        own = process.BaseProcess.start

        def start(self):
            own(self)
            time.sleep(0.1)  # a new interpreter is on its way, and has not come to our code
            press(times)

        process.BaseProcess.start = start
    elif moment == "transfer":
        before(connection, "answer_challenge", lambda: press(times))
    else:
        from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Iterator

        before(Iterator, "_shutdown_workers", lambda: press(times))


if __name__ == "__main__":
    moment, method, times, tool, *arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    multiprocessing.set_start_method(method)
    arrange(moment, times)
    sys.argv = [tool, *arguments]
    sys.path[0] = os.path.dirname(tool)
    runpy.run_path(tool, run_name="__main__")
