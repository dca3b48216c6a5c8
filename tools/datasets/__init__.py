"""What `tools/prepare_data.py` unpacks, checks or generates: one file a kind of data set."""
