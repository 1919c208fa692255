"""Media files as people have them -> arrays. Effects (reading files) are here; the feature kinds are pure but for it."""
