"""What a rank runs in: the lines that come before it, its interpreter, and a container."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from tools.launcher.request import Launch, Request

IN_CONTAINER = "python3"  # the interpreter, where --python names none
FIND_MODULES = (  # a batch script reads no profile, which is where shells learn of `module`
    '[ "$(type -t module)" ] || for file in /etc/profile.d/*mod*.sh; do [ -r "$file" ] && source "$file"; done'
)
RUNTIME, EARLIER_NAME = "apptainer", "singularity"


def host_python(request: Request) -> str:
    """The interpreter of the launcher's own processes of a job, which run in no container."""
    return sys.executable if request.contained else request.python or sys.executable


def rank_python(request: Request) -> str:
    """The interpreter of the tool."""
    return request.python or (IN_CONTAINER if request.contained else sys.executable)


def setup_lines(request: Request) -> list[str]:
    """Lines of bash before the ranks: those of --setup, which have to succeed, and a look for the interpreter."""
    lines = [FIND_MODULES] if any(re.match(r"(module|ml)\b", line) for line in request.setup) else []
    for line in request.setup:
        lines += [line, _unless_zero(f"--setup {shlex.quote(line)} ended with exit code", "$code on $(hostname)")]
    if request.python and not request.contained:
        lines.append(f"command -v {shlex.quote(request.python)} > /dev/null")
        lines.append(_unless_zero(f"--python {shlex.quote(request.python)} is no program on", "$(hostname)"))
    return lines


def _unless_zero(told: str, then: str) -> str:
    """A line that ends the script with a sentence unless the line before it went well."""
    return f"code=$?; [ $code -eq 0 ] || {{ echo {shlex.quote(f'error: {told}')} {then} >&2; exit 2; }}"


def tool_command(launch: Launch, command: Sequence[str], setup: bool) -> tuple[str, ...]:
    """The command of a rank in its container.

    Args: launch: that it belongs to. command: of the tool. setup: whether --setup comes before each rank; else what
        starts the ranks has done so.
    """
    request, words = launch.request, tuple(command)
    if request.apptainer:
        folders = [f"{path}:{path}" for path in dict.fromkeys((str(launch.run_dir), launch.folder))]
        binds = [f"--bind={bind}" for bind in (*folders, *request.mounts)]
        gpus = ["--nv"] if request.gpus else []
        words = (RUNTIME, "exec", *gpus, *binds, f"--pwd={launch.folder}", request.apptainer, *words)
    if setup and (lines := setup_lines(request)):
        script = "\n".join([*lines, 'exec "$@"'])
        words = ("bash", "-c", script, "bash", *words)
    return words


def runnable(command: tuple[str, ...]) -> tuple[str, ...]:
    """The same with the runtime under the name that this machine has for it.

    Raises:
        UserError: its program is not on this machine.
    """
    program = command[0]
    if shutil.which(program):
        return command
    if program == RUNTIME and shutil.which(EARLIER_NAME):
        return (EARLIER_NAME, *command[1:])
    if program == RUNTIME:
        raise UserError(
            f"{socket.gethostname()} has neither {RUNTIME} nor {EARLIER_NAME} in PATH: load it by --setup, or leave "
            "--apptainer out."
        )
    raise UserError(f"{program} is no program on {socket.gethostname()}: name one by --python that the nodes have.")


def check(request: Request, here: bool) -> None:
    """See that what a rank is to run in is there, as far as this machine can tell.

    Args: here: the ranks run on this machine.

    Raises:
        UserError: no such image or interpreter, or no program that runs containers.
    """
    image = request.apptainer
    if image and "://" not in image and not Path(image).exists():
        raise UserError(f"--apptainer {image} does not exist: give an image's file, or a name such as docker://NAME.")
    if image and here and not request.setup:
        runnable((RUNTIME,))
    if request.python and here and not (request.contained or request.setup) and not shutil.which(request.python):
        raise UserError(f"--python {request.python} is no program of this machine: give the path of an interpreter.")
    if request.mounts and not request.contained:
        raise UserError("--container-mounts needs a container: give --container-image or --apptainer too.")
