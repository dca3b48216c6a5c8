"""What every room stands on: ranks, files, locks, signals, errors, seeds, provenance, the compiler."""
