"""Requests in the shape of the `recommend` signature, for the catalogue of `small_model`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from small_model import ITEMS

IDS = [f"i{number}" for number in range(ITEMS)]
CATEGORIES = [["even"] if number % 2 == 0 else ["odd", *(["big"] if number > 6 else [])] for number in range(ITEMS)]


def request(histories: list[list[str]], **changes: Any) -> dict[str, tf.Tensor]:
    """Inputs of `recommend` for a batch of histories, the n-th event at time 1000 n with value 1 + n % 5; one k is that of all."""
    rows, longest = len(histories), max((len(history) for history in histories), default=0)
    ids = np.full([rows, longest], "", object)
    for row, history in enumerate(histories):
        ids[row, : len(history)] = history
    steps = np.tile(np.arange(longest), [rows, 1])
    inputs = {
        "history_ids": ids,
        "history_values": (1 + steps % 5).astype(np.float32),
        "history_times": (1000 * (steps + 1)).astype(np.int64),
        "now": np.full([rows], 10**6, np.int64),
        "query": np.full([rows], "", object),
        "exclude_ids": np.full([rows, 0], "", object),
        "categories": np.full([rows, 0], "", object),
        "diversity": np.zeros([rows], np.float32),
        "device": np.full([rows], "phone", object),
        "age": np.full([rows], 40.0, np.float32),
        "k": 4,
        **changes,
    }
    inputs["k"] = np.zeros([rows], np.int32) + np.asarray(inputs["k"], np.int32)
    strings = {name for name, value in inputs.items() if np.asarray(value).dtype.kind == "O"}
    return {name: tf.constant(value, tf.string if name in strings else None) for name, value in inputs.items()}


def returned_ids(outputs: dict[str, np.ndarray], row: int = 0) -> list[str]:
    return [item.decode() for item in outputs["ids"][row]]
