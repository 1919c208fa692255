"""Ranking: from a request to an ordered list with reasons."""
