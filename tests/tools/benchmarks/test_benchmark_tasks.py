"""The registry of benchmark tasks: --help tells all of every task without torch, and a dropped-in file is a task."""

import shutil
import subprocess
import sys

import pytest

from helpers.repository import ROOT
from tools.benchmarks.tasks import TASKS

NEW = """
from tools.benchmarks.options import ROUNDS
from tools.benchmarks.task import Task

TASK = Task("made_up", "a task of nobody", lambda args: print("ran", args.repeats), options=ROUNDS)
"""
HELP = """
import sys
from tools.benchmark import main
try:
    main(sys.argv[1:])
except SystemExit:
    print("torch" in sys.modules)
"""


def help_of(*words):
    """What --help says, in one line; the last word is whether torch was loaded."""
    done = subprocess.run([sys.executable, "-c", HELP, *words, "--help"], cwd=ROOT, capture_output=True, text=True)
    return " ".join(done.stdout.split())


def test_help_lists_every_task_without_loading_torch():
    shown = help_of()
    assert shown.endswith("False")
    assert all(f"{name} {task.help}" in shown for name, task in TASKS.items())


@pytest.mark.parametrize("name", TASKS)
def test_every_option_says_its_meaning_and_default_and_a_number_its_range(name):
    shown = help_of(name)
    assert shown.endswith("False")
    for option in TASKS[name].options:
        told = shown.split(f"--{option.name.replace('_', '-')} ")[-1].split(" --")[0]
        assert option.rule.help in told and "default: " in told
        assert option.type == "str" or f"at least {option.rule.at_least}" in told


def test_a_file_that_is_dropped_in_is_a_task(tmp_path):
    for name in ("pretrain", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tools/benchmarks/tasks/made_up.py").write_text(NEW)

    def benchmark(*options):
        command = [sys.executable, "tools/benchmark.py", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={}).stdout

    assert "made_up" in benchmark("--help")
    assert benchmark("made_up", "--repeats", "7") == "ran 7\n"
