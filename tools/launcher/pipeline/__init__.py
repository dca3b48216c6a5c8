"""A chain of commands: its YAML (spec), as processes here (processes) or as dependent jobs (dependent_jobs)."""
