"""What host and GPUs say beside the training: memory, and NVML read in a child that may hang or lie at no cost."""
