"""From a command line to jobs, on SLURM or on this machine, and what is known of them afterwards."""
