"""What a run is made of beside the step: learner, checkpoints, logs, diagnostics, the checks before the start."""
