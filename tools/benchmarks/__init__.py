"""What `tools/benchmark.py` times: one file a task, each beside the official code's formulation or a peer."""
