"""The build command, in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SMALL = [
    "build.items_per_shard=8",
    "build.examples_per_shard=10",
    "build.window=6",
    "build.overlap=2",
    "build.workers=1",
]


def build_arguments(data: Path, out: Path, *more: str) -> list[str]:
    changes = [part for change in SMALL for part in ("--set", change)]
    vocabulary = data / "vocab.txt"
    vocabulary.write_text("[PAD]\n[UNK]\nfilm\n")
    return ["build", "--data", str(data), "--out", str(out), "--vocabulary", str(vocabulary), *changes, *more]


# In a process of its own: Beam's imports raise warnings of their own, which are errors in these tests.
def run_build(data: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", *build_arguments(data, out, *more)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
