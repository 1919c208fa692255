"""Feature kinds: one object per kind, everything about its form on disk in one place."""
