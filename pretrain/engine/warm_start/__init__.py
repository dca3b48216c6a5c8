"""Starting from weights that are there: which file, what a run takes of it, and how its trunk then learns.

It is no resume. The run begins at step 0 with its own schedule, and a run folder with checkpoints reads no other file.
"""
