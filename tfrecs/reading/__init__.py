"""reading: records -> tensors and arrays."""
