"""Recommendation quality beside tuned peers."""
