"""exporting: from a run to a SavedModel version that has passed its gate."""
