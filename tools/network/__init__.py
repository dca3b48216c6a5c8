"""What tools/check_network.py measures between the ranks of a job, and how it tells it."""
