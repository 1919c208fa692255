"""benchmarks: measurements against peers and limits, each runnable alone; results in `results/` with their command."""

import tfrecs  # the Keras guard runs before any benchmark imports TensorFlow

__all__ = ["tfrecs"]
