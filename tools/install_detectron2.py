"""Install detectron2, or report on the installed one: python tools/install_detectron2.py [--check]."""

from __future__ import annotations

import argparse
import importlib.machinery
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool

REPOSITORY = "https://github.com/facebookresearch/detectron2"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # 2026-06-06
# The official Python sources of 2024-04 as a wheel. It is tagged for CPython 3.10 on Linux, because it also holds a
# compiled library, which other versions of Python ignore. So pip is told that tag; it then asks for --target.
WHEEL = "sal-detectron2==0.7.2 --hash=sha256:491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
WHEEL_OPTIONS = (
    "--require-hashes --only-binary :all: --python-version 3.10 --implementation cp --abi none --platform any"
)
OPERATORS = {"deform_conv_forward": "deformable convolution", "COCOevalEvaluateImages": "fast COCO evaluation"}
PROBE = """
import json, torch, detectron2
import detectron2.checkpoint, detectron2.data, detectron2.engine, detectron2.evaluation, detectron2.modeling
try:
    from detectron2 import _C
except ImportError:
    _C = None
print(json.dumps({
    "version": detectron2.__version__, "folder": detectron2.__path__[0], "compiled": dir(_C) if _C else [],
    "rotated": hasattr(torch.ops.detectron2, "nms_rotated"), "roi_align": hasattr(torch.ops.torchvision, "roi_align"),
}))
"""


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command with no stdin and no prompt for passwords, and capture its output as text."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False, **options
    )


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line that says why a command failed (pip marks it with ERROR), or the status that it ended with."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith("ERROR")]
    return (marked or lines or [f"exit status {done.returncode}"])[-1]


def require_torch() -> None:
    """Raise UserError where torch is missing. `run_tool` reports a torchvision that does not fit torch."""
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed here: run `{sys.executable} -m pip install .` first."
        ) from error


def probe() -> tuple[dict[str, Any] | None, str]:
    """Import detectron2 in a fresh process and return what it has, or None and the reason for the failure."""
    done = run(sys.executable, "-c", PROBE, cwd=tempfile.gettempdir())
    return (None, reason(done)) if done.returncode else (json.loads(done.stdout.splitlines()[-1]), "")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`pip` of this interpreter."""
    return run(sys.executable, "-m", "pip", *arguments)


def reachable(repository: str) -> bool:
    """Whether git gets an answer from `repository` within half a minute."""
    try:
        return run("git", "ls-remote", repository, "HEAD", timeout=30).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def install(repository: str) -> None:
    """Build the pinned commit of `repository`; where it cannot be reached or built, unpack the pinned wheel.

    Raises:
        UserError: the wheel could not be installed either.
    """
    why = f"{repository} cannot be reached"
    if reachable(repository):
        print(f"building detectron2 {COMMIT[:10]} of {repository}: this takes some minutes", flush=True)
        pip("install", "setuptools", "wheel", "ninja")
        done = pip("install", "--no-build-isolation", "--no-deps", f"git+{repository}@{COMMIT}")
        if done.returncode == 0:
            return
        log = Path(sys.prefix, "detectron2-build.log")
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        why = f"the build failed (its output is in {log})"
    print(f"{why}: taking the wheel {WHEEL.split()[0]}, pinned by its SHA-256", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "detectron2.txt")
        requirements.write_text(WHEEL + "\n", encoding="utf-8")
        target = ("--no-deps", "--upgrade", "--target", sysconfig.get_path("purelib"))
        done = pip("install", *WHEEL_OPTIONS.split(), *target, "-r", str(requirements))
    if done.returncode:
        raise UserError(f"detectron2 could not be installed: {reason(done)}")


def drop_unusable_library() -> None:
    """Delete the compiled library of an installed detectron2 where this interpreter cannot load it.

    A library built for another torch may crash the process; detectron2 only handles ImportError.
    """
    folder = Path(sysconfig.get_path("purelib"), "detectron2")
    tried = [folder / f"_C{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    for library in filter(Path.is_file, tried):
        done = run(sys.executable, "-c", "import torch; from detectron2 import _C", cwd=tempfile.gettempdir())
        if done.returncode:
            library.unlink()
            print(f"deleted {library.name}, which does not load with this torch ({reason(done)})")


def describe(report: dict[str, Any]) -> str:
    """Version, place and operators of the detectron2 that `probe` found."""
    present = {name: symbol in report["compiled"] for symbol, name in OPERATORS.items()}
    present |= {"rotated boxes": report["rotated"], "RoIAlign and NMS (torchvision's)": report["roi_align"]}
    lines = [f"  {name}: {'there' if there else 'not compiled'}" for name, there in present.items()]
    return "\n".join([f"detectron2 {report['version']} in {report['folder']} imports; its operators:", *lines])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(description=__doc__)
    root.add_argument("--check", action="store_true", help="report only, install nothing (default: install)")
    root.add_argument("--repository", default=REPOSITORY, help="a mirror to take it from (default: %(default)s)")
    return root


def main(argv: list[str] | None = None) -> None:
    """Install unless a detectron2 that imports is there, import it in a fresh process, and print what it has."""
    args = parser().parse_args(argv)
    require_torch()
    report, why = probe()
    if report is None and args.check:
        raise UserError(f"detectron2 cannot be imported ({why}): run `python tools/install_detectron2.py`.")
    if report is None:
        install(args.repository)
        drop_unusable_library()
        report, why = probe()
    if report is None:
        raise UserError(f"detectron2 was installed but cannot be imported: {why}")
    print(describe(report))


if __name__ == "__main__":
    run_tool(main)
