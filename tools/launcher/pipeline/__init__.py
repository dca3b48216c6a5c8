"""A chain of commands: its YAML (spec), as processes here (processes) or as dependent jobs (slurm_dag)."""
