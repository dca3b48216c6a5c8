"""Many runs of one setting, each a run folder: rows and trials; a table of rows (comparison); a search (sweep)."""
