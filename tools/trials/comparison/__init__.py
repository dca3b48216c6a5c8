"""What is behind tools/compare.py: every row with every seed, the commands, and their table."""
