"""ranking: from a request to an ordered, explained list."""
