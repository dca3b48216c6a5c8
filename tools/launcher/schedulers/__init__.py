"""The schedulers that `--cluster` can name: every file of this folder but base.py, found when one is asked for.

A file NAME.py holds SCHEDULER, an object as base.Scheduler describes it. No other file names it.
"""

from __future__ import annotations

import argparse
import pkgutil
from importlib import import_module

from tools.launcher.schedulers.base import OwnOption, Scheduler

DEFAULT = "slurm"  # of tools/launch.py; another one is never taken in its place without being asked for
HERE = "local"  # what a message offers to somebody without a cluster


def names() -> list[str]:
    """Names of all schedulers, DEFAULT first."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")
    return sorted(found, key=lambda name: name != DEFAULT)


def find_scheduler(name: str) -> Scheduler:
    """The scheduler called `name`, one of `names()`."""
    scheduler: Scheduler = import_module(f"{__name__}.{name}").SCHEDULER
    return scheduler


def own_options() -> dict[str, OwnOption]:
    """The options that the schedulers add to the launcher's, by name."""
    return {option.name: option for name in names() for option in find_scheduler(name).about.options}


def remarks() -> tuple[str, ...]:
    """How the lines begin that schedulers write among the output of a rank."""
    return tuple(remark for name in names() for remark in find_scheduler(name).about.remarks)


def add_cluster(parser: argparse.ArgumentParser, default: str) -> None:
    """Add `--cluster`, which chooses a scheduler."""
    each = "; ".join(f"{name}: {find_scheduler(name).about.help}" for name in names())
    parser.add_argument("--cluster", choices=names(), default=default, help=f"{each} (default {default})")
