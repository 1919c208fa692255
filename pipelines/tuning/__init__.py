"""tuning: the search for a better configuration."""
