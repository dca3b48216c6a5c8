"""One file an evaluation of a frozen or fine-tuned trunk: k-NN, linear probes, few labels."""
