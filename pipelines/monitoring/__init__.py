"""Drift of what happens in the app."""
