"""Builds records: `triptych build`, with progress and a summary."""
