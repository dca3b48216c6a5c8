"""The official code's formulation of losses, views and step, and the checks that hold ours to it."""
