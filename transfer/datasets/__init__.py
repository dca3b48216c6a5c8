"""Labelled images for evaluation: class folders, subsets, samplers."""
