"""Builds records from a data folder."""
