"""What becomes of a job whose ranks have ended."""

from __future__ import annotations

import pytest

from tools.launcher.worker.exit_codes import Exit
from tools.launcher.worker.restart import Signals, decide

WELL, BAD_INPUT, CRASH, TERMINATED, STOPPED, LOST = 0, 2, 139, 143, 75, 69


@pytest.mark.parametrize(
    ("codes", "srun", "warned", "ending", "retries", "outcome"),
    [
        ([WELL, WELL], 0, False, False, 3, "completed"),
        ([WELL, WELL], 0, True, False, 3, "completed"),  # the warning came after the last step
        ([BAD_INPUT, TERMINATED], 143, False, False, 3, "failed"),  # it would be bad again
        ([TERMINATED, CRASH], 143, False, False, 3, "retried"),
        ([None, TERMINATED], 137, False, False, 1, "retried"),  # killed before it could tell
        ([TERMINATED, CRASH], 143, False, False, 0, "failed"),
        ([LOST, None], 69, False, False, 3, "retried"),  # killed before it could tell, and the other noticed
        ([LOST, BAD_INPUT], 2, False, False, 3, "failed"),  # the other noticed sooner than the one wrote why
        ([STOPPED, STOPPED], 0, True, False, 0, "requeued"),
        ([STOPPED, STOPPED], 0, False, False, 0, "requeued"),  # SIGTERM alone, as some pre-emptions do
        ([None, None], 140, True, False, 3, "requeued"),  # the warning met ranks that were still starting
        ([TERMINATED, TERMINATED], 143, False, True, 3, "failed"),  # SLURM ends the job: no use to start again
    ],
)
def test_every_end_has_one_outcome(
    codes: list[int | None], srun: int, warned: bool, ending: bool, retries: int, outcome: str
) -> None:
    # the one that failed first tells why, and those that were ended because of it come later
    order = sorted(range(len(codes)), key=lambda rank: codes[rank] == TERMINATED)
    ended = {rank: Exit(rank, "n", code, order.index(rank)) for rank, code in enumerate(codes) if code is not None}
    signals = Signals()
    signals.warned, signals.ending = warned, ending
    assert decide(ended, srun, signals, retries) == outcome
