"""One Keras in one process: TensorFlow Recommenders 0.7.7 refuses Keras 3."""

from __future__ import annotations

import os
import sys

VARIABLE = "TF_USE_LEGACY_KERAS"


def require_legacy_keras() -> None:
    """Makes `tf.keras` mean tf-keras 2, or says how to get there.

    TensorFlow reads the variable once, while it is imported. Where it is not yet imported the variable is set;
    where it is imported with Keras 3, nothing that this process does can change that any more.

    Raises:
      ImportError: TensorFlow is already imported with Keras 3. The message is the remedy.
    """
    truthy = ("1", "true", "True")
    if "tensorflow" in sys.modules and os.environ.get(VARIABLE) not in truthy:
        raise ImportError(
            f"TensorFlow was imported with Keras 3 before Triptych; set {VARIABLE}=1 in the environment, "
            "or import Triptych (any of tfrecs, towers, serving, pipelines) before tensorflow"
        )
    os.environ[VARIABLE] = "1"
    # TensorFlow's C++ prints lines at level "error" on every machine without CUDA or AVX-512 that nobody can act on;
    # real errors reach Python as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
