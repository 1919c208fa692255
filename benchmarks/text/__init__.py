"""Paraphrased queries for the benchmark of text search."""
