"""Generated pictures: how one is drawn, and how a set of them is laid out on disk."""
