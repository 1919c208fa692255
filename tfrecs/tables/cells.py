"""Turns cells of tables into text. No TensorFlow here: the app reads the same tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np

from tfrecs.errors import DataError, shorten

_SENTENCE_ENDS = tuple(".!?…。\uff01\uff1f")  # The last two are the full-width ! and ?.


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: None or NaN."""
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def clean(value: Any) -> str:
    """Turn a cell into stripped text that UTF-8 can hold.

    Numbers and dates are written as such; 25.0 becomes "25", because tables turn integers with gaps into floats. Halves of
    surrogate pairs, which JSON may hold, become "?".

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
    if isinstance(value, dict):
        raise DataError(
            f"a record without a name (its keys: {shorten(', '.join(map(str, value)))}) where text is expected"
        )
    if not isinstance(value, str):
        raise DataError(f"{type(value).__name__} where text is expected")
    return value.encode("utf-8", "replace").decode("utf-8").strip()


def cells(value: Any) -> list[Any]:
    """Return the values of a cell or of a list of cells, without nulls."""
    several = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
    return [cell for cell in several if not is_missing(cell)]


def joined(value: Any) -> str:
    """Join cells to one text: one sentence per cell, an enumeration where a cell is itself a list; "" for nulls."""
    text = ""
    for cell in cells(value):
        part = ", ".join(filter(None, (clean(value) for value in cells(cell))))
        if part and text:
            text += " " if text.endswith(_SENTENCE_ENDS) else ". "
        text += part
    return text
