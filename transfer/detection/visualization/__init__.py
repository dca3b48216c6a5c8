"""Predictions next to the ground truth: instances and label maps."""
