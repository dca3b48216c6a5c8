"""What every test shares: one thread, so that sums are added in one order and parallel runs do not fight over cores."""

import os

import torch

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the processes that tests start
