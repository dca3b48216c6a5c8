"""What tools/benchmark.py times: tasks/ what can be asked for, measure/ the timing, reference/ official code."""
