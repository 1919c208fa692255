"""The interface that every feature kind implements, and what kinds share."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import tensorflow as tf
from pydantic import BaseModel, ConfigDict, ValidationError

from tfrecs.errors import SpecError
from tfrecs.schema import FeatureSchema
from tfrecs.tables.cells import is_missing

Note = Callable[[str], None]


def no_note(line: str) -> None:
    """Ignore a note of `encode`."""


class Feature(abc.ABC):
    """One feature of an item or user on disk: parse spec, encode, decode and tensor spec in one object.

    A feature is missing where its payload is empty; `decode` then gives a neutral value and presence False. The payload
    of feature `plot` has the Example key `items/plot` or `users/plot`; the caller adds the prefix.

    Objects have no state but their schema: they can be pickled, and used by several threads at a time.

    Attributes:
      kind: the row of `tfrecs.modalities.MODALITIES`.
      raw_formats: the file formats that `decode_raw` reads, in words; "" where a raw value is no file.
    """

    kind: ClassVar[str]
    raw_formats: ClassVar[str] = ""

    def __init__(self, schema: FeatureSchema):
        self.schema = schema
        self.name = schema.name

    @classmethod
    @abc.abstractmethod
    def params_from(cls, options: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        """Return the schema's `params`: validated options, and what is collected from all raw values (vocabulary, mean).

        Values that `encode` refuses do not count.

        Args:
          options: from `dataset.yaml`, and the configuration's defaults.
          values: raw values, None where missing; iterated once.

        Raises:
          SpecError: an unknown option, a missing one, or one out of its range.
        """

    @classmethod
    def read_cells(cls, cells: Sequence[Any], note: Note) -> Sequence[Any]:
        """Turn the cells of a table's column into raw values; by default they are the raw values.

        Args:
          cells: None where missing.
          note: called with one line for each way in which cells are read other than they stand.
        """
        return cells

    def encode(self, value: Any, note: Note = no_note) -> tf.train.Feature:
        """Encode a raw value (str, path, array, ...) as payload; None and NaN are missing and give an empty payload.

        Args:
          value: the raw value.
          note: called with one line where the value could be used in part only (a truncated clip).

        Raises:
          DataError: the value cannot be used, with the reason.
        """
        return tf.train.Feature() if is_missing(value) else self._encode(value, note)

    @abc.abstractmethod
    def _encode(self, value: Any, note: Note) -> tf.train.Feature:
        """Encode a value that is neither None nor NaN; an empty string may come here."""

    @property
    @abc.abstractmethod
    def parse_spec(self) -> Any:
        """The `tf.io.parse_example` spec of the payload."""

    @property
    @abc.abstractmethod
    def spec(self) -> tf.TensorSpec:
        """Shape and dtype of ONE decoded value, fully static."""

    @abc.abstractmethod
    def decode(self, payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decode the parsed payloads of a batch: values [B, *spec.shape], presence bool [B]. Graph ops only."""

    @property
    @abc.abstractmethod
    def raw_spec(self) -> tf.TensorSpec:
        """Shape (with the batch axis) and dtype of the raw form that a client sends to `embed_items`."""

    @abc.abstractmethod
    def decode_raw(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decode the raw form of a batch as `decode` does. Only ops of a stock server."""

    def content(self, values: np.ndarray) -> np.ndarray | list[list[str]] | None:
        """Describe decoded values without anything learned; the similarity of items by content rests on it.

        Args:
          values: decoded values [B, *spec.shape].

        Returns:
          Numbers, float [B, d]; or terms, one list per value; or None where the kind has no such description.
        """
        return None

    def descriptor(self, values: np.ndarray) -> np.ndarray:
        """Reduce decoded values to short vectors, whose cosine says how near two values are to being the same.

        The checks for near-duplicates and for shifted rows compare them. By default the numbers of a value as they are.

        Args:
          values: decoded values [N, *spec.shape], all of the sample: a descriptor may depend on what is common in it.

        Returns:
          float32 [N, d].
        """
        return values.reshape(len(values), -1).astype(np.float32)

    def render(self, value: np.ndarray) -> str:
        """Render one decoded value, which is not missing, as an HTML snippet for the page of `triptych inspect`.

        By default its first eight numbers.
        """
        numbers = np.asarray(value).reshape(-1)
        shown = ", ".join(f"{number:.3g}" for number in numbers[:8])
        return f"<p>{shown}{f', ... ({len(numbers)} numbers)' if len(numbers) > 8 else ''}</p>"


def decode_each(
    files: tf.Tensor, decode: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], spec: tf.TensorSpec
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode the files of a batch one by one; files that cannot be decoded are missing and do not affect the others.

    The only way for a graph to catch an op's error is tf.data, which can leave out elements that fail. A first element
    that cannot fail stands for "missing", so that the batch is never empty.

    Args:
      files: string [B]; "" is missing.
      decode: string [] -> (value as `spec`, whether it is usable, bool []). May raise InvalidArgumentError when run.
      spec: of one value.

    Returns:
      values [B, *spec.shape], zeros where missing or broken, and presence bool [B].
    """
    count = tf.shape(files)[0]
    position = tf.where(tf.strings.length(files) > 0)[:, 0]

    @tf.autograph.experimental.do_not_convert
    def decoded(row: tf.Tensor, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        value, useful = decode(file)
        return row, tf.ensure_shape(value, spec.shape), useful

    missing = tf.constant(-1, tf.int64), tf.zeros(spec.shape, spec.dtype), tf.constant(False)
    several = tf.data.Dataset.from_tensor_slices((position, tf.gather(files, position)))
    several = several.map(decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    decodable = tf.data.Dataset.from_tensors(missing).concatenate(several.ignore_errors())
    rows, values, useful = decodable.batch(tf.cast(count, tf.int64) + 1).get_single_element()
    where = tf.boolean_mask(rows, useful)[:, None]
    presence = tf.scatter_nd(where, tf.ones_like(where[:, 0], tf.int32), [tf.cast(count, tf.int64)]) > 0
    shape = tf.concat([[tf.cast(count, tf.int64)], tf.constant(spec.shape.as_list(), tf.int64)], axis=0)
    return tf.ensure_shape(tf.scatter_nd(where, tf.boolean_mask(values, useful), shape), [None, *spec.shape]), presence


def bytes_payload(values: Iterable[bytes]) -> tf.train.Feature:
    """Make a payload of byte strings; without any, that of a missing value."""
    content = list(values)
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=content)) if content else tf.train.Feature()


def float_payload(values: Iterable[float]) -> tf.train.Feature:
    """Make a payload of float32 numbers."""
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


class Options(BaseModel):
    """Base of a kind's options (in `dataset.yaml`) and parameters (in the manifest)."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=Options)


def validated(model: type[Model], given: Mapping[str, Any], what: str) -> Model:
    """Validate options as `model`.

    Args:
      model: the options of a kind.
      given: options by name.
      what: begins the error message.

    Raises:
      SpecError: one line that names the first option that is unknown, missing or wrong.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A misspelt option is also a missing one; its spelling is the more helpful message.
        first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        name, value = ".".join(str(part) for part in first["loc"]), repr(first["input"])
        known = ", ".join(model.model_fields) or "none"
        if first["type"] == "extra_forbidden":
            raise SpecError(f"{what}: unknown option {name!r}; its options: {known}") from error
        if first["type"] == "missing":
            raise SpecError(f"{what}: option {name!r} is required and not given; its options: {known}") from error
        problem = first["msg"].removeprefix("Value error, ")
        value = value if len(value) <= 80 else value[:77] + "..."
        raise SpecError(f"{what}: option {name!r} is {value}: {problem}") from error
