"""What runs inside a job: the process that restarts ranks, one rank, exit codes, logs."""
