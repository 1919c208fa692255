"""Text: a description, a plot, a review."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.errors import DataError, shorten
from tfrecs.kinds.base import Feature, Note, bytes_payload, is_missing
from tfrecs.kinds.options import Options, validated
from tfrecs.schema import FeatureSchema

# The characters that `str.strip` takes away, in RE2's notation: RE2's own `\s` knows those of ASCII only.
_SPACE = r"[\s\p{Z}\x0b\x1c-\x1f\x{85}]"
_SENTENCE_ENDS = tuple(".!?…。\uff01\uff1f")  # The last two are the full-width ! and ?.


class TextOptions(Options):
    """Text has none: how long a text may be is the tokeniser's business."""


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

    def _encode(self, value: Any, note: Note) -> tf.train.Feature:
        text = _joined(value)
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


def clean(value: Any) -> str:
    """A cell of a table -> stripped text that UTF-8 can hold; numbers and dates as written, 25.0 as 25 (tables turn a column of
    integers with gaps into floats). Halves of surrogate pairs, which JSON may hold, become "?".

    Raises:
      DataError: neither text nor a number nor a date.
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, bool | int | float | np.generic) and not isinstance(value, np.bytes_ | np.void):
        value = str(value)
    if isinstance(value, bytes):  # Parquet files of other programs hold strings so.
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{shorten(value)} is not UTF-8") from error
    if isinstance(value, date | Decimal):
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"{type(value).__name__} where text is expected")
    return value.encode("utf-8", "replace").decode("utf-8").strip()


def strip(strings: tf.Tensor) -> tf.Tensor:
    """`str.strip` in the graph, white space of all scripts included: string [...] -> string [...]."""
    return tf.strings.regex_replace(strings, f"^{_SPACE}+|{_SPACE}+$", "")


def cells(value: Any) -> list[Any]:
    """What a cell or a list of cells holds, without nulls."""
    several = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
    return [one for one in several if not is_missing(one)]


def _joined(value: Any) -> str:
    text = ""
    for cell in cells(value):
        part = ", ".join(filter(None, (clean(one) for one in cells(cell))))
        if part and text:
            text += " " if text.endswith(_SENTENCE_ENDS) else ". "
        text += part
    return text
