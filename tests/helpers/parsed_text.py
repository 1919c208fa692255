"""Delimited text, parsed whole."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd

from tfrecs.tables.delimited import Malformed, read_delimited
from tfrecs.tables.quoting import DEFAULT_QUOTING, Quoting
from tfrecs.tables.streams import BLOCK


def parsed(
    text: str,
    separator: str,
    quoting: Quoting = DEFAULT_QUOTING,
    note: Callable[[str], None] = lambda line: None,
    block: int = BLOCK,
) -> tuple[pd.DataFrame, np.ndarray, list[Malformed]]:
    """Parse text in blocks of so many bytes: the rows, the line of each, and what is malformed."""
    parts = list(read_delimited(lambda: io.BytesIO(text.encode()), separator, quoting, note, block=block))
    frames = [part.frame for part in parts if len(part.frame)] or [parts[0].frame]
    lines = np.concatenate([part.lines for part in parts])
    return pd.concat(frames, ignore_index=True), lines, [problem for part in parts for problem in part.bad]
