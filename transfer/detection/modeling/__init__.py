"""What is added to detectron2's models: heads with norms, the trunk's weights and their check."""
