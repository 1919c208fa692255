"""Media files as people have them -> arrays. The effect of reading files is here; what the kinds do else is pure."""
