"""pipelines: the steps people run, and the only home of configuration and defaults."""

import tfrecs  # the Keras guard runs before any step imports TensorFlow

__all__ = ["tfrecs"]
