"""What is behind tools/runs.py: run folders found, read as they are, compared and removed."""
