"""Reads, checks, infers and writes `dataset.yaml`."""
