"""What a run tells while it goes: metrics.jsonl, TensorBoard, a bar or lines, and the signs of collapse."""
