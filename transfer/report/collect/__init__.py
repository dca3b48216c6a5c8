"""What is read from run folders and put together: results, trials, names, statistics."""
