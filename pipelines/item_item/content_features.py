"""The plain content of a catalogue's items, read from its records."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from pipelines.item_item.content_similarity import standardised, tf_idf
from tfrecs.reading.features import features_for
from tfrecs.reading.reader import Catalogue, item_features
from tfrecs.schema import Schema

_BATCH = 256


def content_features(schema: Schema, catalogue: Catalogue) -> dict[str, sp.csr_matrix]:
    """Read TF-IDF vectors of terms and standardised numbers, whichever the kind of a feature gives.

    Returns:
      item feature -> float32 csr [N, d], rows of length 1 or 0; without the features whose kind has no plain content.
    """
    features = {feature.name: feature for feature in features_for(schema.items)}
    parts: dict[str, list[Any]] = {name: [] for name in features}
    presences = []
    decode = tf.function(lambda serialized: item_features(schema, serialized), autograph=False, reduce_retracing=True)
    for start in range(0, len(catalogue), _BATCH):
        values, presence = decode(tf.constant(catalogue.records[start : start + _BATCH]))
        presences.append(presence.numpy())
        for name, feature in features.items():
            parts[name].append(feature.content(values[name].numpy()))
    result = {}
    for column, (name, blocks) in enumerate(parts.items()):
        if not blocks or any(block is None for block in blocks):
            continue  # a kind without plain content
        if isinstance(blocks[0], np.ndarray):
            present = np.concatenate(presences)[:, column]
            result[name] = standardised(np.concatenate(blocks), present)
        else:
            result[name] = tf_idf([terms for block in blocks for terms in block])
    return result
