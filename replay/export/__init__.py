"""Runs as tables, and as runs of other tools: TensorBoard, Weights & Biases, trackio, rerun, Prometheus."""
