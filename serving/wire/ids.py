"""Ids of items and users in requests. Ids are strings everywhere; whole numbers, as tables have them, are taken as such."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

ItemId: TypeAlias = str | int | np.integer[Any]

ID_INPUTS = frozenset({"history_ids", "exclude_ids", "candidate_ids", "item_ids"})  # of the signatures
_EXACT = 2**53  # up to here a float64 holds every whole number


def as_id(value: Any) -> Any:
    """Turn a whole number into the id that a build makes of it: 7 and 7.0, as tables with gaps have it, into "7".

    Strings and bytes are returned as they are.

    Raises:
      ValueError: anything else, bool included; one line without the input's name.
    """
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    number = float(value) if isinstance(value, float | np.floating) else 0.5
    if abs(number) <= _EXACT and number.is_integer():
        return str(int(number))
    raise ValueError(f"{value!r} is no id; ids are strings or whole numbers")


def as_ids(values: Any) -> Any:
    """Turn the ids in nested lists or arrays into strings with `as_id`. Raises ValueError."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "SU":
            return values
        ids = np.empty(values.size, object)
        ids[:] = [as_id(value) for value in values.ravel().tolist()]
        return ids.reshape(values.shape)
    return [as_ids(value) for value in values] if isinstance(values, list | tuple) else as_id(values)
