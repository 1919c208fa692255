"""Limits on requests: rows, lengths, number of results, valid text where text is expected, and plausible times.

The message size does not limit these: one `k`, or a repeated value of a few bytes, can ask for a response of
gigabytes. Pure functions; errors are InvalidArgumentError and name the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.server.status import invalid
from tfrecs.schema import request_fault

_STRING = 7  # DT_STRING of tensorflow/core/framework/types.proto
_RAW_CONTENT = "embed_items"  # the signature whose strings may be files
_TIMES = frozenset({"history_times", "now"})
_OPEN = -1  # size of a dimension that the signature leaves open


@dataclass(frozen=True)
class RequestLimits:
    """The largest request; None for no limit.

    Attributes:
      max_rows: size of the first axis, where the signature leaves it open.
      max_length: size of any further open axis: events of a history, exclusions, candidates.
      max_k: a `k` of a Triptych export, besides the export's own limit (`export.max_k`).
      max_results: rows times the largest `k` of a Triptych export, the size of its answer.
      max_string_bytes: one string in the ids, categories and queries of a Triptych export.
    """

    max_rows: int | None
    max_length: int | None
    max_k: int | None
    max_results: int | None
    max_string_bytes: int | None


UNLIMITED = RequestLimits(max_rows=None, max_length=None, max_k=None, max_results=None, max_string_bytes=None)


def check(
    limits: RequestLimits, name: str, signature: Any, inputs: Mapping[str, np.ndarray], *, contract: bool
) -> None:
    """Refuse inputs beyond the limits, and strings that are not text.

    Args:
      limits: the largest request.
      name: name of the signature.
      signature: the SignatureDef.
      inputs: arrays of the signature's types and ranks.
      contract: the model is a Triptych export: `k` is the number of results, and strings are text except in
        `embed_items`, and `history_times` and `now` are unix seconds. Other models' strings may hold any bytes.

    Raises:
      InvalidArgumentError: an input is beyond a limit, or a time is not plausible; the message names both.
    """
    infos = signature.inputs
    bounds = [bound for bound in (limits.max_rows, limits.max_length) if bound is not None]
    smallest = min(bounds) if bounds else math.inf
    for alias, array in inputs.items():
        info = infos[alias]
        if max(array.shape, default=0) > smallest:
            _check_sizes(limits, alias, info, array.shape)
        if not contract:
            continue
        if alias == "k" and array.dtype.kind == "i" and array.size:
            _check_k(limits, int(array.max()), max((len(other) for other in inputs.values() if other.ndim), default=0))
        if info.dtype == _STRING and name != _RAW_CONTENT:
            _check_text(limits, alias, array)
        elif alias in _TIMES and array.dtype.kind == "i":
            _check_times(alias, array)


def _check_sizes(limits: RequestLimits, alias: str, info: Any, shape: tuple[int, ...]) -> None:
    for axis, (dim, size) in enumerate(zip(info.tensor_shape.dim, shape, strict=False)):
        limit, unit = (limits.max_length, "values a row") if axis else (limits.max_rows, "rows")
        if dim.size == _OPEN and limit is not None and size > limit:
            raise invalid(f'input "{alias}" has {size} {unit}; this server takes at most {limit}')


def _check_k(limits: RequestLimits, k: int, rows: int) -> None:
    if limits.max_k is not None and k > limits.max_k:
        raise invalid(f'input "k" is {k}; this server takes at most {limits.max_k}')
    if limits.max_results is not None and k * rows > limits.max_results:
        raise invalid(
            f'input "k" is {k} for {rows} rows; this server answers at most {limits.max_results} results a request'
        )


def _check_times(alias: str, array: np.ndarray) -> None:
    known = array[array != 0]
    for time in (known.min(), known.max()) if known.size else ():
        fault = request_fault(int(time))
        if fault:
            raise invalid(f'input "{alias}" has {fault}')


def _check_text(limits: RequestLimits, alias: str, array: np.ndarray) -> None:
    strings = array.ravel().tolist()
    longest = max(map(len, strings), default=0)
    if limits.max_string_bytes is not None and longest > limits.max_string_bytes:
        raise invalid(
            f'input "{alias}" has a string of {longest} bytes; this server takes at most {limits.max_string_bytes}'
        )
    # One pass over all strings: a line feed is never part of a longer UTF-8 sequence, so joining changes no validity.
    joined = b"\n".join(strings)
    if b"\0" in joined:
        raise invalid(f'input "{alias}" has a string with a NUL byte; it must be text')
    try:
        joined.decode()
    except UnicodeDecodeError as error:
        position = joined.count(b"\n", 0, error.start)
        raise invalid(
            f'input "{alias}" has a string that is not UTF-8 (near string {position}); it must be text'
        ) from error
