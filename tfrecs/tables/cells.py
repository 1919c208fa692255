"""Cells of tables as text. No TensorFlow: the app reads the same tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np

from tfrecs.errors import DataError, shorten

_SENTENCE_ENDS = tuple(".!?…。\uff01\uff1f")  # The last two are the full-width ! and ?.


def is_missing(value: Any) -> bool:
    """None, or the NaN that tables hold where a cell is empty."""
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


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


def cells(value: Any) -> list[Any]:
    """What a cell or a list of cells holds, without nulls."""
    several = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
    return [one for one in several if not is_missing(one)]


def joined(value: Any) -> str:
    """One text of a cell or of several: a sentence a cell, an enumeration where a cell is a list itself; "" of nulls."""
    text = ""
    for cell in cells(value):
        part = ", ".join(filter(None, (clean(one) for one in cells(cell))))
        if part and text:
            text += " " if text.endswith(_SENTENCE_ENDS) else ". "
        text += part
    return text
