"""Archives of others: verified, unpacked, and checked for what is missing; what the public benchmarks share."""
