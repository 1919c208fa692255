"""runs: a run's folder, its records and model opened together, and the progress that every step shows."""
