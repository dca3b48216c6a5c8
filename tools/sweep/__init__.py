"""Many runs of one setting: trials and their rows, as jobs, as one table."""
