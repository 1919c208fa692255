"""The item-item model (EASE, successors, popularity, content), as arrays."""
