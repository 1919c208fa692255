"""scoring: held-out requests, a model as a scorer of them, full ranking and its metrics."""
