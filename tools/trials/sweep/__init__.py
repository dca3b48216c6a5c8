"""What is behind tools/sweep.py: what is searched, who proposes values, where it is kept, and the trials' jobs."""

from __future__ import annotations

import importlib.util

from pretrain.runtime.errors import UserError


def require_optuna() -> None:
    """See that Optuna is there.

    Raises:
        UserError: it is not; the sentence names the extra.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UserError("a sweep needs optuna, which is not installed: pip install 'unigrad[sweep]'.")
