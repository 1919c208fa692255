"""input: how fast data goes in and out."""
