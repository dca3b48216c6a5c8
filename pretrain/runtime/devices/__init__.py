"""Where a process computes: its device, what happens when the memory of one runs out, and the compiler."""
