"""The item-item model (EASE or item-kNN, successors, popularity, cold start), as arrays."""
