"""Linear classifiers of frozen features: exact ones, SVMs, and heads that learn by SGD."""
