"""Reads columns of times, whatever they are written as: to whole unix seconds, and the fraction that orders events."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from tfrecs.tables.delimited import STRINGS
from tfrecs.tables.table import NULL_WORDS, as_ids, as_numbers, is_null
from tfrecs.unix_time import EARLIEST, LATEST, PER_SECOND, TimeNotation, doubt, likely_unit

_BILLION = 10**9
_EXACT = 2**53  # up to here every whole number is a float64
# Patterns as text: pandas runs them in Arrow, and compiled ones row by row.
_NAMED_UTC = r"(?i)\s*(?:UTC|GMT|Z)$"
_OFFSET_AND_UTC = r"(:[0-9.]+\s*[+-]\d{2}:?\d{2})Z$"  # "10:00:00 +0000 UTC", as Go writes times
_HAS_ZONE = r"(?:Z|:[0-9.]+\s*[+-]\d{2}(?::?\d{2})?)$"
# Numbers that are dates written together, and their format.
_TOGETHER = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True)
class Times:
    """Times of n rows; both parts are 0 where a row has a fault.

    Attributes:
      seconds: whole unix seconds, int64 [n].
      fraction: nanoseconds beyond them, int64 [n].
      unreadable: missing, or not in the notation, bool [n].
      implausible: read, but not from 1971 to 2099, bool [n].
    """

    seconds: np.ndarray
    fraction: np.ndarray
    unreadable: np.ndarray
    implausible: np.ndarray


def read_times(column: pd.Series, notation: TimeNotation) -> Times:
    """Read a column: each row by itself, whatever the others are written as.

    Timestamps of parquet, and Decimals, keep every digit down to the nanosecond.
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return _of_moments(_in_utc(column, notation.zone))
    if notation.layout is not None:
        return _of_layout(column, notation.layout, notation.zone)
    numbers, is_text = as_numbers(column)
    times = _of_numbers(column, numbers, PER_SECOND[notation.unit])
    if is_text.any():
        texts = as_ids(column[is_text])
        _put(times, is_text, _of_iso(texts, notation.zone))
    return times


def advice(value: Any, notation: TimeNotation) -> str | None:
    """Say what a value that is no time may be, and which key of the spec helps; None for a missing one."""
    text = str(value).strip()
    if is_null(value) or text.lower() in NULL_WORDS:
        return None
    if notation.layout is not None:
        return "mend interactions.time_format, or the rows"
    try:
        number = float(text)
    except ValueError:
        if re.match(r"\d{4}-", text):
            return "of ISO-8601 times from 1971 to 2099 are read, such as 2024-03-21T10:00:00Z"
        return f"set interactions.time_format, such as {_day_first(text)}"
    problem, likely, written = doubt(number, notation.unit), likely_unit(number), _written_together(text)
    if not np.isfinite(number) or problem is None:
        return None
    if likely is not None:
        return f"{text} {problem}: set interactions.time_unit: {likely}"
    if written:
        return f"{text} looks like a date: set interactions.time_format: '{written}'"
    position = "; if it is a position and no time, name its column as interactions.order"
    return f"{text} {problem}{position if 0 <= number < EARLIEST else ''}"


def _day_first(text: str) -> str:
    """Formats that a date with day, month and year in figures may have."""
    parts = re.match(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(\s\d{1,2}:\d{2}(:\d{2})?)?", text)
    if parts is None:
        return "'%d/%m/%Y %H:%M'"
    mark, clock = parts[2], " %H:%M" * bool(parts[5]) + ":%S" * bool(parts[6])
    days_first, months_first = f"'%d{mark}%m{mark}%Y{clock}'", f"'%m{mark}%d{mark}%Y{clock}'"
    if int(parts[1]) > 12:
        return days_first
    return months_first if int(parts[3]) > 12 else f"{days_first} or {months_first}"


def _written_together(text: str) -> str | None:
    layout = _TOGETHER.get(len(text))
    try:
        year = datetime.strptime(text, layout).year if layout and text.isdecimal() else 0
    except ValueError:
        return None
    return layout if 1971 <= year <= 2099 else None


def _of_numbers(column: pd.Series, numbers: np.ndarray, per_second: int) -> Times:
    unreadable = np.isnan(numbers)
    with np.errstate(invalid="ignore"):
        seconds = np.floor(numbers / per_second)
        plausible = (seconds >= EARLIEST) & (seconds <= LATEST)
        whole = plausible & (np.floor(numbers) == numbers) & (np.abs(numbers) < _EXACT) & ~_with_point(column)
    counts = np.where(whole, numbers, 0).astype(np.int64)
    times = Times(
        counts // per_second, counts % per_second * (_BILLION // per_second), unreadable, ~unreadable & ~plausible
    )
    rest = np.flatnonzero(plausible & ~whole)  # A float64 holds neither nanoseconds nor all digits of a fraction.
    if len(rest):
        scale = _BILLION // per_second
        exact = [_decimal(value) * scale for value in column.iloc[rest]]
        nanoseconds = np.array([int(value.to_integral_value()) for value in exact], np.int64)
        times.seconds[rest], times.fraction[rest] = np.divmod(nanoseconds, _BILLION)
    return times


def _with_point(column: pd.Series) -> np.ndarray:
    """Whether a cell is text, or a Decimal, with more digits than its float64 may hold, bool [n]."""
    if column.dtype == STRINGS:
        return column.str.contains(".", regex=False).to_numpy(bool, na_value=False)
    if column.dtype == object:
        return np.array([isinstance(value, str | Decimal) and "." in str(value) for value in column], bool)
    return np.zeros(len(column), bool)


def _decimal(value: Any) -> Decimal:
    return Decimal(repr(float(value)) if isinstance(value, float | np.floating) else str(value).strip())


def _of_layout(column: pd.Series, layout: str, zone: str | None) -> Times:
    texts = as_ids(column)  # as text; 20240321.0 is 20240321, since tables turn whole numbers with gaps into floats
    own_zone = "%z" in layout
    moments = pd.to_datetime(texts, format=layout, utc=own_zone, errors="coerce")
    return _of_moments(moments if own_zone else _in_utc(moments, zone))


def _of_iso(texts: pd.Series, zone: str | None) -> Times:
    texts = texts.str.replace(_NAMED_UTC, "Z", regex=True).str.replace(_OFFSET_AND_UTC, r"\1", regex=True)
    moments = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    times = _of_moments(moments)
    local = ~texts.str.contains(_HAS_ZONE, regex=True).to_numpy(bool, na_value=True)
    if zone is not None and local.any():
        _put(times, local, _of_moments(_in_utc(moments[local].dt.tz_localize(None), zone)))
    return times


def _in_utc(moments: pd.Series, zone: str | None) -> pd.Series:
    """UTC. In a zone with summer time an hour that occurs twice is the first one, and one that is skipped the next."""
    if moments.dt.tz is not None:
        return moments.dt.tz_convert("UTC")
    first = np.ones(len(moments), bool)
    return moments.dt.tz_localize(ZoneInfo(zone or "UTC"), ambiguous=first, nonexistent="shift_forward").dt.tz_convert(
        "UTC"
    )


def _of_moments(moments: pd.Series) -> Times:
    values = moments.dt.tz_convert(None).to_numpy()  # datetime64 of the column's own unit
    unreadable = np.isnat(values)
    whole = values.astype("datetime64[s]")
    seconds = np.where(unreadable, 0, whole.astype(np.int64))
    implausible = ~unreadable & ((seconds < EARLIEST) | (seconds > LATEST))
    fine = ~unreadable & ~implausible
    fraction = np.zeros(len(values), np.int64)
    fraction[fine] = (values[fine] - whole[fine]).astype("timedelta64[ns]").astype(np.int64)
    return Times(np.where(fine, seconds, 0), fraction, unreadable, implausible)


def _put(times: Times, rows: np.ndarray, part: Times) -> None:
    for name in ("seconds", "fraction", "unreadable", "implausible"):
        getattr(times, name)[rows] = getattr(part, name)
