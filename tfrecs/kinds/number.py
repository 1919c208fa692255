"""Number: a price, a year, a duration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.errors import DataError, shorten
from tfrecs.kinds.base import Feature, Note, Options, float_payload, validated
from tfrecs.kinds.moments import Moments
from tfrecs.schema import FeatureSchema
from tfrecs.tables.cells import is_missing


class NumberOptions(Options):
    """A number has no options."""


class NumberParams(NumberOptions):
    """Mean and population standard deviation of the values that are not missing, for standardising."""

    mean: float
    std: float


class NumberFeature(Feature):
    """One float32. Raw values: numbers, or strings that are numbers; NaN and the empty string are missing."""

    kind = "number"

    def __init__(self, schema: FeatureSchema):
        super().__init__(schema)
        self.params = validated(NumberParams, schema.params, f"feature {schema.name!r}")

    @classmethod
    def params_from(cls, options: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        validated(NumberOptions, options, cls.kind)
        moments = Moments(())
        for value in values:
            try:
                number = _number(value)
            except DataError:  # Not swallowed: `encode` refuses the same value, by name.
                continue
            if number is not None:
                moments.add(number)
        return NumberParams(mean=float(moments.mean), std=float(moments.std)).model_dump()

    def _encode(self, value: Any, note: Note) -> tf.train.Feature:
        number = _number(value)
        return tf.train.Feature() if number is None else float_payload([number])

    @property
    def parse_spec(self) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([], tf.float32, float("nan"))

    @property
    def spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([], tf.float32)

    def decode(self, payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Missing, and what is not finite: 0 and False."""
        presence = tf.math.is_finite(payload)
        return tf.where(presence, payload, 0.0), presence

    @property
    def raw_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None], tf.float32)

    def decode_raw(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """NaN is missing."""
        return self.decode(raw)

    def content(self, values: np.ndarray) -> np.ndarray:
        return values[:, None]


def _number(value: Any) -> float | None:
    """Return the value as float32 holds it; None where it is missing."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{shorten(value)} is not a number") from error
    if np.isnan(number):
        return None
    with np.errstate(over="ignore"):
        number = float(np.float32(number))
    if not np.isfinite(number):
        raise DataError(f"{shorten(value)} is infinite, or too large for 32 bits")
    return number
