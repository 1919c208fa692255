"""Merging several requests into one call of the model, and splitting its outputs.

As TensorFlow Serving's batching session (batching/batching_session.cc), with four deliberate differences:

- A signature may have inputs without a batch axis; requests share a batch if these are equal. TensorFlow Serving refuses
  every request that has such an input ("Batching Run() input tensors must have at least one dimension"), so its own
  batching must stay off for such signatures.
- Requests whose shapes differ behind the batch axis go into different batches; they do not fail.
- A signature that has an output without a batch axis is not batched; it does not fail.
- Lists of any length in Triptych exports are padded with "" and 0 (`serving.server.servable.Servable.paddable_inputs`), so that
  histories of different lengths share a batch, and answers are cut to what each request asked for (`result_width`).

Pure functions; queues and threads are in `serving.server.batching.shared_batch_scheduler`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.server.status import failed_precondition, invalid

Arrays = Mapping[str, np.ndarray]

# Requests of Triptych exports for up to so many results share a batch; more, up to the next power of two.
FEW_RESULTS = 64


@dataclass(frozen=True)
class BatchingOptions:
    """TensorFlow Serving's BatchingParameters.

    Attributes:
      max_batch_size: largest number of rows of a batch.
      batch_timeout_micros: how long an open batch waits for more rows while a thread is free.
      max_enqueued_batches: batches that may wait for a thread, per model version and signature.
      num_batch_threads: batches that run at the same time.
      thread_pool_name: label of the metrics.
      allowed_batch_sizes: a batch is filled up to the next of these with copies of a row; empty for any size.
      pad_variable_length_inputs: pad shorter inputs behind the batch axis with their own first value.
      enable_large_batch_splitting: split a request of more rows than a batch instead of refusing it.
      max_execution_batch_size: largest number of rows of its parts.

    Raises:
      ValueError: a value is invalid; the message names it.
    """

    max_batch_size: int
    batch_timeout_micros: int
    max_enqueued_batches: int
    num_batch_threads: int
    thread_pool_name: str
    allowed_batch_sizes: tuple[int, ...]
    pad_variable_length_inputs: bool
    enable_large_batch_splitting: bool
    max_execution_batch_size: int

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads", "max_execution_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive; was {getattr(self, name)}")
        if self.batch_timeout_micros < 0:
            raise ValueError(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        if self.max_execution_batch_size > self.max_batch_size:
            raise ValueError("max_execution_batch_size must not be larger than max_batch_size")
        sizes = self.allowed_batch_sizes
        if any(size <= before for before, size in zip((0, *sizes), sizes, strict=False)):
            raise ValueError("allowed_batch_sizes entries must be positive and monotonically increasing")
        if sizes and sizes[-1] != self.max_batch_size:
            raise ValueError(
                "Last entry in allowed_batch_sizes must match max_batch_size; "
                f"last entry was {sizes[-1]}; expected {self.max_batch_size}"
            )

    def replaced(self, values: Mapping[str, Any]) -> BatchingOptions:
        """Replace some values. `max_execution_batch_size` follows `max_batch_size` if only that is given. Raises ValueError."""
        if "max_batch_size" in values and "max_execution_batch_size" not in values:
            values = {**values, "max_execution_batch_size": values["max_batch_size"]}
        return dataclasses.replace(self, **values)


def batched_inputs(signature: Any, outputs: Sequence[str]) -> frozenset[str] | None:
    """The names of the inputs with a batch axis; None if requests of the signature cannot be batched.

    Args:
      signature: the SignatureDef.
      outputs: the requested outputs; all must have a batch axis.
    """
    inputs = frozenset(alias for alias, info in signature.inputs.items() if _has_batch_axis(info.tensor_shape))
    all_outputs = all(_has_batch_axis(signature.outputs[alias].tensor_shape) for alias in outputs)
    return inputs if inputs and all_outputs else None


def row_count(inputs: Arrays, batched: frozenset[str]) -> int:
    """The number of rows of a request. Raises InvalidArgumentError if its inputs disagree, or one has no rows."""
    if any(inputs[alias].ndim == 0 for alias in batched):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    counts = {inputs[alias].shape[0] for alias in batched}
    if len(counts) != 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return counts.pop()


def batch_key(inputs: Arrays, batched: frozenset[str], *, pad_lengths: bool, paddable: frozenset[str]) -> Hashable:
    """A key that is equal for requests that may share a batch.

    They have inputs of equal types, equal inputs without a batch axis, equal shapes behind the batch axis, and (Triptych
    exports) about as many results: a row of a batch costs and holds as much as that with the largest `k`.

    Args:
      inputs: the inputs of a request.
      batched: names of the inputs with a batch axis.
      pad_lengths: see `BatchingOptions.pad_variable_length_inputs`.
      paddable: inputs that may be padded with "" or 0; none but for Triptych exports. Their sizes may differ up to the next
        power of two, so that one long history does not lengthen a thousand short ones.
    """
    width = result_width(inputs) if paddable and "k" in batched else None

    def part(alias: str, array: np.ndarray) -> Hashable:
        if alias not in batched:
            return alias, array.dtype, array.shape, _value(array)
        if alias in paddable:
            return alias, array.dtype, tuple(_power_of_two(size) for size in array.shape[1:])
        return alias, array.dtype, array.ndim if pad_lengths else array.shape[1:]

    results = () if width is None else (max(FEW_RESULTS, _power_of_two(width)),)
    return results + tuple(part(alias, array) for alias, array in sorted(inputs.items()))


def result_width(inputs: Arrays) -> int | None:
    """The number of columns of the outputs of a Triptych export, or None if no input tells it.

    It is the largest `k`, or the number of candidates. Of a batch it is the largest of its requests.
    """
    k = inputs.get("k")
    if k is not None and k.dtype.kind == "i" and k.ndim == 1 and k.size:
        return int(k.max())
    candidates = inputs.get("candidate_ids")
    return None if candidates is None or candidates.ndim != 2 else candidates.shape[1]


def is_divisible(inputs: Arrays) -> bool:
    """Whether the answers to parts of the rows can be put together: their `k` must be equal to have as many columns."""
    k = inputs.get("k")
    return k is None or k.size == 0 or bool((k == k.flat[0]).all())


def merge(
    requests: Sequence[Arrays], batched: frozenset[str], *, pad_lengths: bool, paddable: frozenset[str], size: int
) -> dict[str, np.ndarray]:
    """Merge the inputs of several requests with the same `batch_key`.

    Args:
      requests: the inputs of each.
      batched: names of the inputs with a batch axis.
      pad_lengths: see `BatchingOptions.pad_variable_length_inputs`.
      paddable: see `batch_key`.
      size: rows of the result; rows beyond those of the requests are copies of the last request's first row.

    Raises:
      InvalidArgumentError: an empty input would have to be padded.
    """
    merged: dict[str, np.ndarray] = {}
    for alias, first in requests[0].items():
        if alias not in batched:
            merged[alias] = first
            continue
        arrays = [request[alias] for request in requests]
        shapes = {array.shape[1:] for array in arrays}
        if len(shapes) > 1 and (pad_lengths or alias in paddable):
            largest = tuple(map(max, zip(*shapes, strict=True)))
            arrays = [_pad(array, largest, with_blanks=alias in paddable) for array in arrays]
        missing = size - sum(len(array) for array in arrays)
        if missing > 0:
            arrays.append(np.repeat(arrays[-1][:1], missing, axis=0))
        merged[alias] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return merged


def split(outputs: Arrays, rows: Sequence[int], size: int, widths: Sequence[int | None]) -> list[dict[str, np.ndarray]]:
    """Split the outputs of a batch.

    Args:
      outputs: arrays of `size` rows.
      rows: number of rows of each request.
      size: rows of the batch.
      widths: columns that each request asked for, see `result_width`; None for as many as there are.

    Returns:
      The outputs of each request.

    Raises:
      FailedPreconditionError: an output does not have `size` rows.
    """
    for array in outputs.values():
        if array.ndim == 0:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if array.shape[0] != size:
            raise failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors"
            )
    ends = np.cumsum(rows).tolist()
    return [
        {alias: array[end - count : end][(slice(None), slice(width))[: array.ndim]] for alias, array in outputs.items()}
        for count, end, width in zip(rows, ends, widths, strict=True)
    ]


def rounded_up(rows: int, allowed: Sequence[int]) -> int:
    """The smallest allowed batch size of at least `rows`; `rows` itself if any size is allowed."""
    return next((size for size in allowed if size >= rows), rows)


def _has_batch_axis(shape: Any) -> bool:
    return not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size == -1


def _power_of_two(size: int) -> int:
    """The smallest power of two that is at least `size`; 0 for 0."""
    return 1 << (size - 1).bit_length() if size else 0


def _value(array: np.ndarray) -> Hashable:
    return tuple(array.ravel().tolist()) if array.dtype == object else array.tobytes()


def _pad(array: np.ndarray, largest: tuple[int, ...], *, with_blanks: bool) -> np.ndarray:
    if array.shape[1:] == largest:
        return array
    if with_blanks:
        value: Any = b"" if array.dtype == object else 0
    elif array.size:
        value = array.flat[0]
    else:
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    full = np.full((len(array), *largest), value, array.dtype)
    full[tuple(slice(count) for count in array.shape)] = array
    return full
