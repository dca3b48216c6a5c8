"""From a command line to jobs, with any of the schedulers, and what is known of them afterwards."""
