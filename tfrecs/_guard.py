"""One Keras in one process: TensorFlow Recommenders 0.7.7 refuses Keras 3."""

from __future__ import annotations

import os
import sys

VARIABLE = "TF_USE_LEGACY_KERAS"


def require_legacy_keras() -> None:
    """Make `tf.keras` mean tf-keras 2.

    TensorFlow reads the variable once, when it is imported. Before that import the variable is set here; after an import
    with Keras 3 this process cannot change it any more.

    Raises:
      ImportError: TensorFlow is already imported with Keras 3; the message has the remedy.
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
