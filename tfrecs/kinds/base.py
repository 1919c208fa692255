"""The interface that every feature kind implements."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfrecs.schema import FeatureSchema


class Feature(abc.ABC):
    """One feature of an item or user on disk: parse spec, encode, decode and tensor spec in one object.

    A feature is missing where its payload is empty; `parse` then decodes a neutral value and presence is 0.
    Key convention: the payload of feature `plot` is the Example key `items/plot` (or `users/plot`); the prefix is
    given by the caller, so that one kind serves both.
    """

    kind: ClassVar[str]

    def __init__(self, schema: FeatureSchema):
        self.schema = schema
        self.name = schema.name

    @classmethod
    @abc.abstractmethod
    def params_from(cls, options: dict[str, Any], values: Sequence[Any]) -> dict[str, Any]:
        """The schema's `params`: the options of `dataset.yaml` (validated, defaults filled) plus what must be
        collected from all raw values (vocabulary, width, mean). Raises SpecError."""

    @abc.abstractmethod
    def encode(self, value: Any) -> tf.train.Feature:
        """A raw value (str, path, array, ...; None = missing) -> the payload. Raises DataError with the reason."""

    @property
    @abc.abstractmethod
    def parse_spec(self) -> Any:
        """The `tf.io.parse_example` spec of the payload."""

    @property
    @abc.abstractmethod
    def spec(self) -> tf.TensorSpec:
        """Shape and dtype of ONE decoded value, fully static."""

    @abc.abstractmethod
    def decode(self, payload: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Parsed payload of a batch -> (values [B, *spec.shape], presence bool [B]). Graph ops only."""

    @property
    @abc.abstractmethod
    def raw_spec(self) -> tf.TensorSpec:
        """Shape (with the batch axis) and dtype of the raw form that a client sends to `embed_items`."""

    @abc.abstractmethod
    def decode_raw(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Raw form of a batch -> (values, presence), as `decode`. Only ops that a stock server has:
        no tensorflow-io."""
