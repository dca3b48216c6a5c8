"""Predictions beside the ground truth: instances and label maps."""
