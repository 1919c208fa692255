"""A search over the configuration."""
