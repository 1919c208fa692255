"""Held-out requests, a model as their scorer, full ranking and its metrics."""
