"""runs: a run's folder, and the progress that every step shows."""
