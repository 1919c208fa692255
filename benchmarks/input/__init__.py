"""Throughput and memory of building, decoding and reading records."""
