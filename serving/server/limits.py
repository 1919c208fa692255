"""What a request may be: how many rows, how long, how many results, and text where text is expected.

The message size bounds none of these: a scalar `k` or a repeated value of a few bytes can ask for gigabytes of answer.
Pure functions; errors are InvalidArgumentError and name the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.server.status import invalid

_STRING = 7  # DT_STRING of tensorflow/core/framework/types.proto
_RAW_CONTENT = "embed_items"  # of the contract: its strings are files as often as text
_OPEN = -1


@dataclass(frozen=True)
class Limits:
    """The largest request; None: no limit of the server's own.

    Attributes:
      max_rows: sizes of first axes that the signature leaves open.
      max_length: sizes of further axes that it leaves open: events of a history, exclusions, candidates.
      max_k: the scalar `k` of a Triptych export, which has a limit of its own (`export.max_k`), too.
      max_results: rows times `k` of a Triptych export.
      max_string_bytes: of one string in a Triptych export's ids, categories and queries.
    """

    max_rows: int | None
    max_length: int | None
    max_k: int | None
    max_results: int | None
    max_string_bytes: int | None


UNLIMITED = Limits(max_rows=None, max_length=None, max_k=None, max_results=None, max_string_bytes=None)


def check(limits: Limits, name: str, signature: Any, inputs: Mapping[str, np.ndarray], *, contract: bool) -> None:
    """Refuses inputs beyond the limits, and strings that are no text.

    Args:
      name, signature: the SignatureDef and what it is called.
      inputs: of the signature's types and ranks.
      contract: the model is a Triptych export, so that `k` is the number of results and strings are text, those of
        `embed_items` apart. Other models' strings may be anything.

    Raises:
      InvalidArgumentError: names the input and the limit.
    """
    infos = signature.inputs
    bounds = [bound for bound in (limits.max_rows, limits.max_length) if bound is not None]
    unsuspicious = min(bounds) if bounds else math.inf
    for alias, array in inputs.items():
        info = infos[alias]
        if max(array.shape, default=0) > unsuspicious:
            _check_sizes(limits, alias, info, array.shape)
        if not contract:
            continue
        if alias == "k" and array.ndim == 0:
            _check_k(limits, int(array), max((len(other) for other in inputs.values() if other.ndim), default=0))
        if info.dtype == _STRING and name != _RAW_CONTENT:
            _check_text(limits, alias, array)


def _check_sizes(limits: Limits, alias: str, info: Any, shape: tuple[int, ...]) -> None:
    for axis, (dim, size) in enumerate(zip(info.tensor_shape.dim, shape, strict=False)):
        most, what = (limits.max_length, "values a row") if axis else (limits.max_rows, "rows")
        if dim.size == _OPEN and most is not None and size > most:
            raise invalid(f'input "{alias}" has {size} {what}; this server takes at most {most}')


def _check_k(limits: Limits, k: int, rows: int) -> None:
    if limits.max_k is not None and k > limits.max_k:
        raise invalid(f'input "k" is {k}; this server takes at most {limits.max_k}')
    if limits.max_results is not None and k * rows > limits.max_results:
        raise invalid(
            f'input "k" is {k} for {rows} rows; this server answers at most {limits.max_results} results a request'
        )


def _check_text(limits: Limits, alias: str, array: np.ndarray) -> None:
    strings = array.ravel().tolist()
    longest = max(map(len, strings), default=0)
    if limits.max_string_bytes is not None and longest > limits.max_string_bytes:
        raise invalid(
            f'input "{alias}" has a string of {longest} bytes; this server takes at most {limits.max_string_bytes}'
        )
    # One pass over all of them: a line feed is no part of a longer UTF-8 sequence, so it neither hides a broken one
    # nor breaks a whole one.
    together = b"\n".join(strings)
    if b"\0" in together:
        raise invalid(f'input "{alias}" has a string with a NUL byte; it must be text')
    try:
        together.decode()
    except UnicodeDecodeError as error:
        place = together.count(b"\n", 0, error.start)
        raise invalid(
            f'input "{alias}" has a string that is not UTF-8 (near string {place}); it must be text'
        ) from error
