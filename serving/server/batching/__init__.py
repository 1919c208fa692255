"""batching: requests of several clients as one call of the model."""
