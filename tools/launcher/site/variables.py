"""The environment variables of a job: those of this shell that go with it, and those that are asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from pretrain.data.site.standing_in import SCRATCH
from pretrain.data.site.standing_in import VARIABLE as DATA
from pretrain.runtime.errors import UserError

ENVIRONMENT = "environment"  # the launcher's option for them
CARRIED = ("LD_LIBRARY_PATH", "DETECTRON2_DATASETS", DATA, SCRATCH, "OMP_NUM_THREADS", "CUDA_HOME")
CARRIED_PREFIXES = ("NCCL_", "GLOO_", "TORCH", "PYTORCH_", "UCX_", "FI_")


def is_carried(name: str) -> bool:
    """Whether a variable of this shell goes with the job: a site may export none of them."""
    return name in CARRIED or (name.startswith(CARRIED_PREFIXES) and not name.startswith("TORCHELASTIC_"))


def carried() -> dict[str, str]:
    """The variables of this shell that go with a job."""
    return {name: value for name, value in sorted(os.environ.items()) if is_carried(name)}


def asked_for(pairs: Sequence[str]) -> dict[str, str]:
    """The variables of --environment, by name; of several values for one name the last counts.

    Raises:
        UserError: one is not NAME=VALUE.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UserError(f"--{ENVIRONMENT} {pair} is not NAME=VALUE.")
        found[name] = value
    return found
