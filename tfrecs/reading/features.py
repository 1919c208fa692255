"""The features of a schema together: their objects, one parse of a batch for all, their tensor specs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.errors import SpecError
from tfrecs.kinds.base import Feature
from tfrecs.modalities import kinds, resolve, row
from tfrecs.schema import FeatureSchema


def feature_for(schema: FeatureSchema) -> Feature:
    """Make the feature object of a row of the schema.

    Raises:
      SpecError: no such kind, or wrong `params`.
    """
    if schema.kind not in kinds():
        raise SpecError(f"feature {schema.name!r}: unknown kind {schema.kind!r}; there are {', '.join(kinds())}")
    return resolve(row(schema.kind).feature)(schema)


def features_for(schemas: Iterable[FeatureSchema]) -> tuple[Feature, ...]:
    """Make the feature objects of rows of the schema, in order."""
    return tuple(feature_for(schema) for schema in schemas)


def parse_spec(features: Sequence[Feature], prefix: str) -> dict[str, Any]:
    """Return Example key -> spec of the payload, for `tf.io.parse_example`; readers add other keys to it."""
    return {f"{prefix}/{feature.name}": feature.parse_spec for feature in features}


def decode_parsed(
    features: Sequence[Feature], parsed: Mapping[str, tf.Tensor], prefix: str
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Decode what `tf.io.parse_example` returned for `parse_spec`.

    Args:
      features: at least one; without any, B would be unknown.
      parsed: Example key -> parsed payloads of a batch.
      prefix: "items" or "users".

    Returns:
      Name -> values [B, *spec.shape], and presence bool [B, M] in the order of `features`.
    """
    decoded = {feature.name: feature.decode(parsed[f"{prefix}/{feature.name}"]) for feature in features}
    values = {name: value for name, (value, _) in decoded.items()}
    return values, tf.stack([presence for _, presence in decoded.values()], axis=-1)


def parse_batch(
    features: Sequence[Feature], serialized: tf.Tensor, prefix: str
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Parse serialized Examples, string [B], with one op for all features, and decode them. Graph ops only.

    Returns:
      Name -> values [B, *spec.shape], and presence bool [B, M] in the order of `features`; M may be 0.
    """
    if not features:
        return {}, tf.zeros([tf.shape(serialized)[0], 0], tf.bool)
    return decode_parsed(features, tf.io.parse_example(serialized, parse_spec(features, prefix)), prefix)


def raw_values(schemas: Iterable[FeatureSchema], serialized: tf.Tensor, prefix: str) -> dict[str, np.ndarray]:
    """Decode the features of serialized Examples, string [B], to what a client sends: name -> [B, ...], "" or NaN for missing."""
    features = features_for(schemas)
    values, presence = parse_batch(features, serialized, prefix)
    result = {}
    for column, feature in enumerate(features):
        is_text = feature.raw_spec.dtype == tf.string
        value = values[feature.name].numpy()
        value[~presence.numpy()[:, column]] = b"" if is_text else np.nan
        result[feature.name] = value.astype(object) if is_text else value
    return result


def specs(features: Iterable[Feature]) -> dict[str, tf.TensorSpec]:
    """Return name -> shape and dtype of one decoded value."""
    return {feature.name: feature.spec for feature in features}
