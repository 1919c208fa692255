"""Tables as files in every format that a build reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "jsonl": lambda frame, path: path.write_text(
        "".join(json.dumps(row) + "\n" for row in frame.astype(object).to_dict("records"))
    ),
    "parquet": lambda frame, path: frame.to_parquet(path),
}
