"""Images inside archives, read one by one where they lie: an index of each archive, its cache, and the reader."""
