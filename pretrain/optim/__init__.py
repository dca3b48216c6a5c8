"""What changes the parameters: optimisers, groups of parameters that are treated alike, and schedules of rates."""
