"""building: `triptych build`, with progress and a summary of what went in."""
