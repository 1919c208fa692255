"""Export of a run as a SavedModel version that has passed its gate."""
