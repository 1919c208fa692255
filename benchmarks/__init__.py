"""benchmarks: measurements against peers and limits, each runnable alone; results in `results/` with their command."""
