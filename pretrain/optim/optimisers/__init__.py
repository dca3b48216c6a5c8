"""The optimisers, one file each, with what is peculiar to it; optim.optimiser=NAME takes the file's name."""

from pretrain.runtime.registry import names

NAMES = names(__path__)  # known without an import of torch
