"""What this machine runs the code with: what a report of a bug has to say, found without any guess."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from pretrain.runtime import provenance
from pretrain.runtime.repository import COMMAND, HOME, INSTALLED
from pretrain.runtime.urls import hide

VARIABLES = re.compile(r"CUDA_|NVIDIA_|NCCL_|GLOO_|OMP_NUM|MKL_NUM|TORCH|PYTORCH_|UNIGRAD_|DETECTRON2_")
DRIVER = Path("/proc/driver/nvidia/version")
Facts = dict[str, Any]  # a value is a text, a number, a list of texts or a dictionary of texts


def version() -> str:
    """Of the installed distribution; a clone that was never installed has none."""
    try:
        return metadata.version(COMMAND)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def version_line() -> str:
    """Name, version, and the commit of the clone or of what the wheel was built from."""
    kind = "wheel" if INSTALLED else "clone"
    return f"{COMMAND} {version()} ({kind} of commit {provenance.commit() or 'unknown'})"


def facts() -> Facts:
    """Everything, by name, in the order in which it is read."""
    return {
        COMMAND: f"{version_line().removeprefix(f'{COMMAND} ')} in {HOME}",
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.platform()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        **of_torch(),
        "detectron2": _detectron2(),
        "libraries": libraries(),
        "variables": variables(),
    }


def text(told: Facts) -> str:
    """The same, a line a fact; lists and dictionaries are indented below their name."""
    lines = []
    for name, value in told.items():
        below = [f"{key} {one}" for key, one in value.items()] if isinstance(value, dict) else value
        if isinstance(below, list):
            lines += [f"{name}:{'' if below else ' none'}", *(f"  {one}" for one in below)]
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def of_torch() -> Facts:
    """torch, torchvision and what they find of GPUs; a sentence in place of what does not import."""
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError) as error:
        return {"torch": f"cannot be imported: {error}"}
    cudnn: Any = torch.backends.cudnn
    operators = "its operators load" if hasattr(torch.ops.torchvision, "roi_align") else "without its operators"
    found: Facts = {
        "torch": torch.__version__,
        "torchvision": f"{torchvision.__version__}, {operators}",
        "CUDA": f"{torch.version.cuda or 'none'} of torch, {_driver()}",
        "cuDNN": cudnn.version() or "none",
    }
    nccl: Any = torch.cuda.nccl
    if torch.version.cuda:
        found["NCCL"] = ".".join(map(str, nccl.version()))
    return found | {
        "GPUs": [_gpu(torch.cuda.get_device_properties(place)) for place in range(torch.cuda.device_count())]
    }


def _gpu(device: Any) -> str:
    return f"{device.name}, {device.total_memory / 2**30:.1f} GiB, capability {device.major}.{device.minor}"


def _driver() -> str:
    if not DRIVER.is_file():
        return "no driver"
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", DRIVER.read_text(encoding="utf-8"))
    return f"driver {found[0] if found else 'of unknown version'}"


def _detectron2() -> list[str] | str:
    """Its version and compiled operators, seen by a process of its own, which it may end."""
    from tools import install_detectron2

    report, why = install_detectron2.probe()
    return f"cannot be imported: {why}" if report is None else install_detectron2.describe(report).splitlines()


def libraries() -> dict[str, str]:
    """What the distribution asks for, required or by an extra, and the version that is there."""
    try:
        asked = metadata.requires(COMMAND) or []
    except metadata.PackageNotFoundError:
        return {}
    names = dict.fromkeys(re.split(r"[^\w.-]", requirement)[0] for requirement in asked)
    return {name: _version_of(name) for name in sorted(names, key=str.lower)}


def variables() -> dict[str, str]:
    """What is set of the variables that change how torch and we run, without what is secret in URLs."""
    return {name: hide(value) for name, value in sorted(os.environ.items()) if VARIABLES.match(name)}


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
