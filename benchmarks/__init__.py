"""Measurements against peers and limits, each runnable alone; `results/` has the figures and the commands."""

import tfrecs  # the Keras guard runs before any benchmark imports TensorFlow

__all__ = ["tfrecs"]
