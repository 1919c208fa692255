"""tuning: a search over the configuration."""
