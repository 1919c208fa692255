"""The model and baselines measured on the test split."""
