"""From records and configuration to a model with all its variables, under a strategy."""
