"""Result files of the benchmarks: where they lie and what each of them states."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.runs.progress import say

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "benchmarks" / "results"


def machine() -> str:
    """Describe the machine in a line."""
    return f"{platform.machine()}, {os.cpu_count()} cores, no accelerator"


def command_line(name: str, *arguments: str, changes: Sequence[str] = ()) -> str:
    """Return the command that makes a result; empty arguments are left out, `changes` become `--set` options."""
    settings = [f"--set {change}" for change in changes]
    return " ".join([f"python -m benchmarks.{name}", *filter(None, arguments), *settings])


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON and print where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    say(f"Results: {path}")
