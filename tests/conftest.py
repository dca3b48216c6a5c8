"""What every test shares: one thread, so that sums are added in one order and parallel runs do not fight over cores."""

import torch

torch.set_num_threads(1)
