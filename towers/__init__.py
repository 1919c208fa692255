"""towers: encoders, fusion, item tower, user tower, ranking head and the two-tower `tfrs.Model`.

Shape letters used in every docstring here: B queries, L history length, N items, M modalities, D embedding width,
T tokens of a text, P positions that are predicted.
"""

import tfrecs  # the Keras guard runs before this package's modules import TensorFlow

__all__ = ["tfrecs"]
