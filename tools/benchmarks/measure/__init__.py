"""How each task of tools/benchmark.py is measured, beside the official code or a peer."""
