"""Classifiers of images by features: nearest neighbours, linear heads, fine-tuned networks, and their accuracy."""
