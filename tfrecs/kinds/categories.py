"""Categories: genres, tags, a brand, an age group; any number of them per item."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
from pydantic import Field

from tfrecs.errors import DataError
from tfrecs.kinds.base import Feature, Note, Options, bytes_payload, validated
from tfrecs.kinds.text import hashed_words, strip
from tfrecs.schema import FeatureSchema
from tfrecs.tables.cells import cells, clean, is_missing
from tfrecs.tables.lists import read_lists

_SEPARATORS = r"[,|]"


class CategoriesOptions(Options):
    """Options in `dataset.yaml`.

    Attributes:
      max_values: largest number of decoded categories of an item; None: the largest in the catalogue.
      max_vocabulary: size of the vocabulary; None: all categories.
      separator: what separates the categories in a string; None: both `,` and `|`.
    """

    max_values: Annotated[int, Field(ge=1)] | None = None
    max_vocabulary: Annotated[int, Field(ge=1)] | None = None
    separator: Annotated[str, Field(min_length=1)] | None = None


class CategoriesParams(Options):
    """Parameters for decoding: the vocabulary, most frequent first, ties in order, and the width of a decoded value."""

    max_values: Annotated[int, Field(ge=1)]
    vocabulary: list[str]
    separator: str | None


class CategoriesFeature(Feature):
    """Strings, stripped, each once and in their order; none is missing.

    Raw values: a list of strings; or one string, which is split (at `separator`, or at `,` and `|`); or a number.
    The elements of a list are not split. The record holds all of them; a decoded value the first `max_values`.
    Strings outside the vocabulary are decoded too; the encoder decides what they mean.
    """

    kind = "categories"

    def __init__(self, schema: FeatureSchema):
        super().__init__(schema)
        self.params = validated(CategoriesParams, schema.params, f"feature {schema.name!r}")

    @classmethod
    def params_from(cls, options: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        given = validated(CategoriesOptions, options, cls.kind)
        counts: Counter[str] = Counter()
        most = 1
        for value in values:
            if is_missing(value):
                continue
            try:
                categories = split(value, given.separator)
            except DataError:  # Not swallowed: `encode` refuses the same value, by name.
                continue
            counts.update(categories)
            most = max(most, len(categories))
        ranked = sorted(counts, key=lambda category: (-counts[category], category))
        return CategoriesParams(
            max_values=min(most, given.max_values or most),
            vocabulary=ranked[: given.max_vocabulary],
            separator=given.separator,
        ).model_dump()

    @classmethod
    def read_cells(cls, cells: Sequence[Any], note: Note) -> Sequence[Any]:
        """Lists written as text, and lists of records, become lists of strings."""
        return read_lists(cells, note, numbers=True)

    def _encode(self, value: Any, note: Note) -> tf.train.Feature:
        return bytes_payload(category.encode() for category in split(value, self.params.separator))

    @property
    def parse_spec(self) -> tf.io.FixedLenSequenceFeature:
        return tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True, default_value="")

    @property
    def spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([self.params.max_values], tf.string)

    def decode(self, payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """string [B, n], "" behind the last -> (string [B, max_values], "" behind the last; presence bool [B])."""
        padding = tf.fill([tf.shape(payload)[0], self.params.max_values], "")
        values = tf.concat([payload, padding], axis=1)[:, : self.params.max_values]
        values = tf.ensure_shape(values, [None, self.params.max_values])
        return values, tf.reduce_any(tf.strings.length(values) > 0, axis=-1)

    @property
    def raw_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None, None], tf.string)

    def decode_raw(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Any number of strings each, "" among them: they are stripped, and the empty and repeated ones dropped."""
        stripped = strip(raw)
        length = tf.shape(raw)[1]
        earlier = tf.range(length)[None, :] < tf.range(length)[:, None]
        repeated = tf.reduce_any((stripped[:, :, None] == stripped[:, None, :]) & earlier, axis=-1)
        kept = tf.ragged.boolean_mask(stripped, (tf.strings.length(stripped) > 0) & ~repeated)
        return self.decode(kept.to_tensor(default_value=""))

    def content(self, values: np.ndarray) -> list[list[str]]:
        return [[category.decode() for category in row if category] for row in values]

    def descriptor(self, values: np.ndarray) -> np.ndarray:
        return hashed_words(values)

    def render(self, value: np.ndarray) -> str:
        words = (html.escape(category.decode("utf-8", "replace")) for category in value.tolist() if category)
        return "<p>" + "".join(f"<span>{word}</span>" for word in words) + "</p>"


def split(value: Any, separator: str | None) -> list[str]:
    """Split a raw value into its categories: stripped, not empty, each once, in their order.

    Raises:
      DataError: neither strings nor numbers.
    """
    if isinstance(value, str):
        value = value.split(separator) if separator is not None else re.split(_SEPARATORS, value)
    categories = [clean(part) for cell in cells(value) for part in cells(cell)]
    return list(dict.fromkeys(category for category in categories if category))
