"""Folders of images: walked once, with the class of each image, and their listing kept on disk."""
