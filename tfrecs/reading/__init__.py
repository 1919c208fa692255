"""Reads records into tensors and arrays."""
