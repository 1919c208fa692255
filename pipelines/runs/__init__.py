"""The folder of a run, folder locks, and progress of long work."""
