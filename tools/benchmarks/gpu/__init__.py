"""`tools/benchmark.py gpu`: everything that waits for a GPU, in parts; each has a process and a time of its own."""
