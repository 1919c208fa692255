"""Vector: features that were computed elsewhere (VGGish, CLIP, the factors of another model)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
from pydantic import Field

from tfrecs.errors import DataError, NoValueError, SpecError, shorten
from tfrecs.kinds.base import Feature, Note, Options, float_payload, validated
from tfrecs.kinds.moments import Moments
from tfrecs.schema import FeatureSchema
from tfrecs.tables.cells import is_missing
from tfrecs.tables.vectors import vector_in


class VectorOptions(Options):
    """A vector has no options; its width is that of the values."""


class VectorParams(VectorOptions):
    """Width, and mean and population standard deviation of each dimension over the values that are not missing."""

    dim: Annotated[int, Field(ge=1)]
    mean: list[float]
    std: list[float]


class VectorFeature(Feature):
    """float32 of a fixed width.

    Raw values: an array or list of numbers, or such as a text (see `tfrecs.tables.vectors`). NaN throughout is missing; one of
    another width, or with a NaN or infinity among its numbers, is refused.
    """

    kind = "vector"

    def __init__(self, schema: FeatureSchema):
        super().__init__(schema)
        self.params = validated(VectorParams, schema.params, f"feature {schema.name!r}")

    @classmethod
    def params_from(cls, options: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        """The width is the one that more than half of the vectors have: a few broken ones are refused one by one
        by `encode`, but where no width prevails the column is not one of vectors.

        Raises:
          SpecError: as of every kind; no vector at all; no prevailing width.
        """
        validated(VectorOptions, options, cls.kind)
        by_width: dict[int, Moments] = {}
        faults: list[str | None] = []
        for value in values:
            try:
                vector = None if is_missing(value) else _vector(value)
            except DataError as error:  # Not swallowed: `encode` refuses the same value, by name.
                faults += [] if by_width else [str(error)]
                continue
            if vector is None:
                faults += [] if by_width else [None]
                continue
            by_width.setdefault(len(vector), Moments(vector.shape)).add(vector.astype(np.float64))
        if not by_width:
            first = next((fault for fault in faults if fault), "all are missing")
            problem = (
                f"{cls.kind}: not one usable vector in the data ({first}); correct the column, or remove the feature"
            )
            raise NoValueError(problem, faults)
        dim, moments = max(by_width.items(), key=lambda entry: entry[1].count)
        if 2 * moments.count <= sum(moments.count for moments in by_width.values()):
            widths = ", ".join(f"{width} ({by_width[width].count} values)" for width in sorted(by_width)[:5])
            raise SpecError(f"{cls.kind}: the vectors have different widths, {widths}; give them all the same")
        return VectorParams(dim=dim, mean=moments.mean.tolist(), std=moments.std.tolist()).model_dump()

    @classmethod
    def read_cells(cls, cells: Sequence[Any], note: Note) -> Sequence[Any]:
        """Vectors written as text become arrays, empty ones and those of NaN throughout missing."""
        result: list[Any] = []
        texts, missing, example = 0, 0, ""
        for cell in cells:
            value = cell
            if isinstance(cell, str):
                try:
                    value = vector_in(cell)
                    texts, example = texts + 1, example or shorten(cell)
                except DataError:  # Not swallowed: `encode` refuses the same value, by name.
                    pass
            if _is_nothing(value):
                missing, value = missing + 1, None
            result.append(value)
        if texts:
            note(f"{texts:,} cells are vectors written as text (such as {example}); read as numbers")
        if missing:
            note(f"{missing:,} vectors are empty, or NaN throughout; taken as missing")
        return result

    def _encode(self, value: Any, note: Note) -> tf.train.Feature:
        vector = _vector(value)
        if vector is None:
            return tf.train.Feature()
        if len(vector) != self.params.dim:
            raise DataError(f"vector of width {len(vector)} where the others have {self.params.dim}")
        return float_payload(vector.tolist())

    @property
    def parse_spec(self) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([self.params.dim], tf.float32, [float("nan")] * self.params.dim)

    @property
    def spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([self.params.dim], tf.float32)

    def decode(self, payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Missing vectors become zeros and False, and so do vectors with NaN or infinity, which a client may send."""
        presence = tf.reduce_all(tf.math.is_finite(payload), axis=-1)
        return tf.where(presence[:, None], payload, 0.0), presence

    @property
    def raw_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None, self.params.dim], tf.float32)

    def decode_raw(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A row of NaN is missing."""
        return self.decode(raw)

    def content(self, values: np.ndarray) -> np.ndarray:
        return values


def _is_nothing(value: Any) -> bool:
    """Whether a value is an empty list, or one of NaN throughout."""
    return isinstance(value, list | tuple | np.ndarray) and all(map(is_missing, value))


def _vector(value: Any) -> np.ndarray | None:
    """float32 [width], finite, width >= 1; None for NaN throughout."""
    if isinstance(value, str):
        value = vector_in(value)
    try:
        with np.errstate(over="ignore"):
            vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("not a list of numbers") from error
    if vector.ndim != 1 or not len(vector):
        raise DataError(f"not a list of numbers (its shape is {list(vector.shape)})")
    if np.isnan(vector).all():
        return None
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        raise DataError(f"{len(bad)} of {len(vector)} numbers are NaN or infinite, the first at position {bad[0]}")
    return vector
