"""Published numbers, and which of our results may stand beside them."""
