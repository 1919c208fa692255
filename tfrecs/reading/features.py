"""Features of a schema together: their objects, one parse of a batch for all of them, their tensor specs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrecs.errors import SpecError
from tfrecs.kinds.base import Feature
from tfrecs.modalities import kinds, resolve, row
from tfrecs.schema import FeatureSchema


def feature_for(schema: FeatureSchema) -> Feature:
    """The feature object of a row of the schema.

    Raises:
      SpecError: there is no such kind, or `params` are not what the kind needs.
    """
    if schema.kind not in kinds():
        raise SpecError(f"feature {schema.name!r}: unknown kind {schema.kind!r}; there are {', '.join(kinds())}")
    return resolve(row(schema.kind).feature)(schema)


def features_for(schemas: Iterable[FeatureSchema]) -> tuple[Feature, ...]:
    """`feature_for` each, in order."""
    return tuple(feature_for(schema) for schema in schemas)


def parse_spec(features: Sequence[Feature], prefix: str) -> dict[str, Any]:
    """Example key -> spec of its payload, for `tf.io.parse_example`; a reader adds what else it wants to it."""
    return {f"{prefix}/{feature.name}": feature.parse_spec for feature in features}


def decode_parsed(
    features: Sequence[Feature], parsed: Mapping[str, tf.Tensor], prefix: str
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """What `tf.io.parse_example` gave for `parse_spec`, of a batch -> (name -> values [B, ...], presence bool [B, M]).

    `features` must not be empty: without any there is nothing to tell B by.
    """
    decoded = {feature.name: feature.decode(parsed[f"{prefix}/{feature.name}"]) for feature in features}
    values = {name: value for name, (value, _) in decoded.items()}
    return values, tf.stack([presence for _, presence in decoded.values()], axis=-1)


def parse_batch(
    features: Sequence[Feature], serialized: tf.Tensor, prefix: str
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Serialized Examples string [B] -> (name -> values [B, *spec.shape], presence bool [B, M]).

    One batched `tf.io.parse_example` for all M features; graph ops only. M is in the order of `features`, and may be 0.
    """
    if not features:
        return {}, tf.zeros([tf.shape(serialized)[0], 0], tf.bool)
    return decode_parsed(features, tf.io.parse_example(serialized, parse_spec(features, prefix)), prefix)


def specs(features: Iterable[Feature]) -> dict[str, tf.TensorSpec]:
    """Name -> shape and dtype of one decoded value."""
    return {feature.name: feature.spec for feature in features}


def raw_specs(features: Iterable[Feature]) -> dict[str, tf.TensorSpec]:
    """Name -> shape (with the batch axis) and dtype of the raw form, as the signatures take it."""
    return {feature.name: feature.raw_spec for feature in features}
