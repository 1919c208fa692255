"""Text: a description, a plot, a review."""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.kinds.base import Feature, Note, Options, bytes_payload, validated
from tfrecs.schema import FeatureSchema
from tfrecs.tables.cells import joined
from tfrecs.tables.lists import read_lists

# The characters that `str.strip` removes, in the notation of RE2, whose own `\s` is ASCII only.
_SPACE = r"[\s\p{Z}\x0b\x1c-\x1f\x{85}]"
_BUCKETS = 512  # Of the hash in a text's descriptor.
_WORD = re.compile(r"\w\w+")


class TextOptions(Options):
    """Text has no options; the length is an option of the tokenizer."""


class TextFeature(Feature):
    """UTF-8 text, stripped; the empty string is missing. Nothing is tokenised here.

    Raw values: a string or a number. Several columns come as a list of cells: they become sentences, one a cell,
    and a cell that is itself a list becomes an enumeration; nulls are skipped.
    """

    kind = "text"

    def __init__(self, schema: FeatureSchema):
        super().__init__(schema)
        validated(TextOptions, schema.params, f"feature {schema.name!r}")

    @classmethod
    def params_from(cls, options: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        return validated(TextOptions, options, cls.kind).model_dump()

    @classmethod
    def read_cells(cls, cells: Sequence[Any], note: Note) -> Sequence[Any]:
        """Lists of strings written as text, and lists of records, become lists of strings."""
        return read_lists(cells, note, numbers=False)

    def _encode(self, value: Any, note: Note) -> tf.train.Feature:
        text = joined(value)
        return bytes_payload([text.encode()] if text else ())

    @property
    def parse_spec(self) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([], tf.string, "")

    @property
    def spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([], tf.string)

    def decode(self, payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return payload, tf.strings.length(payload) > 0

    @property
    def raw_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None], tf.string)

    def decode_raw(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.decode(strip(raw))

    def content(self, values: np.ndarray) -> list[list[str]]:
        """Words of two letters and more, in lower case."""
        return [_WORD.findall(text.decode().lower()) for text in values]

    def descriptor(self, values: np.ndarray) -> np.ndarray:
        return hashed_words(values)

    def render(self, value: np.ndarray) -> str:
        return f"<p>{html.escape(bytes(np.asarray(value).item()).decode('utf-8', 'replace'))}</p>"


def hashed_words(values: np.ndarray) -> np.ndarray:
    """Count words in hashed buckets, common words less: bytes [N, ...] -> float32 [N, 512]."""
    counts = np.zeros([len(values), _BUCKETS], np.float32)
    for row, value in enumerate(values.reshape(len(values), -1)):
        for word in b" ".join(value).lower().split():
            counts[row, zlib.crc32(word) % _BUCKETS] += 1
    rarity = np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0)))
    return (counts * rarity).astype(np.float32)


def strip(strings: tf.Tensor) -> tf.Tensor:
    """Strip strings [...] in the graph as `str.strip` does, with white space of all scripts."""
    return tf.strings.regex_replace(strings, f"^{_SPACE}+|{_SPACE}+$", "")
