"""Blocks of the user tower: what lets each position of a history see those before it."""
