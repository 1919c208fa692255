"""Learning curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

TRAIN, VALID = "train", "valid"


def by_part(row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """A line of `metrics.jsonl` as part -> tag -> value; what is named `valid_...` there is of the validation split."""
    curves: dict[str, dict[str, float]] = {TRAIN: {}, VALID: {}}
    for name, value in row.items():
        if name != "epoch":
            curves[VALID if name.startswith("valid_") else TRAIN][name.removeprefix("valid_")] = value
    return curves


class Curves:
    """Writes scalars by epoch into `<logs>/train` and `<logs>/valid`.

    One folder for each, so that TensorBoard draws both curves of a loss, which have one tag, into one chart.
    """

    def __init__(self, logs: Path):
        self._writers = {part: tf.summary.create_file_writer(str(logs / part)) for part in (TRAIN, VALID)}

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a line of `metrics.jsonl`; it is on disk afterwards."""
        for part, scalars in by_part(row).items():
            with self._writers[part].as_default(step=row["epoch"]):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
            self._writers[part].flush()
