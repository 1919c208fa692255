"""evaluation: held-out requests, full ranking, metrics, baselines and slices."""
