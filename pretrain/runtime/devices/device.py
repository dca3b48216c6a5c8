"""Which device a process computes on, and in which arithmetic: chosen, checked and made current in one place."""

from __future__ import annotations

import warnings

import torch

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str, option: str = "device", tf32: bool = False, fixed_shapes: bool = False) -> torch.device:
    """This process's device: its own GPU, by its rank on this machine, or the CPU.

    A GPU is also made the current one, before anything else touches CUDA. Else each process would also hold memory on
    the first GPU, and NCCL, pinned memory and every bare `cuda` would mean that one.

    fp32 means fp32 unless `tf32` says otherwise. torch itself lets cuDNN round the factors of convolutions in fp32 to
    TF32, which has 10 bits of mantissa for 23.

    Args:
        name: one of DEVICES; auto takes a GPU where torch sees one.
        option: as its user types it, for the messages.
        tf32: whether a GPU may compute convolutions and products of fp32 in TF32.
        fixed_shapes: whether the same shapes come again and again, so that cuDNN may try its kernels on each once.

    Raises:
        UserError: another name, no GPU where one is asked for, or fewer GPUs than processes on this machine.
    """
    if name not in DEVICES:
        raise UserError(f"{option}={name} is not known: choose one of {', '.join(DEVICES)}.")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UserError(f"{option}=cuda, but torch sees no GPU: use {option}=cpu or install a CUDA build of torch.")
    if name == "cpu" or not there:
        return torch.device("cpu")
    index, count = distributed.local_rank(), torch.cuda.device_count()
    if index >= count:
        raise UserError(
            f"process {index} of this machine has no GPU of its own, since torch sees {count}: start at most {count} "
            f"processes here, or use {option}=cpu."
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = fixed_shapes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.10 would rather have names that its own compiler cannot read yet
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    return device


def arithmetic() -> str:
    """How this process's GPU computes in fp32, as results and records state it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f"TF32 {'on' if torch.backends.cudnn.allow_tf32 else 'off'}"
