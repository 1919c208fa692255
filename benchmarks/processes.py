"""Server processes of the benchmarks. No TensorFlow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ADDRESS = r"127\.0\.0\.1:\d+"


@contextmanager
def python_server(
    arguments: Sequence[str], *, log: Path | None = None, pattern: str = ADDRESS
) -> Iterator[tuple[int, list[str]]]:
    """Run a Python process that prints its addresses, and terminate it at the end.

    Args:
      arguments: of the interpreter.
      log: file for its error output; None discards it.
      pattern: regular expression of an address in its output.

    Yields:
      The process id, and the matches of the pattern in the first line of output that has any.

    Raises:
      SystemExit: the process ended without printing an address, or before the end of the block.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with open(log or os.devnull, "ab") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        try:
            assert process.stdout is not None
            addresses = next((found for line in process.stdout if (found := re.findall(pattern, line))), None)
            if addresses is None:
                raise SystemExit(f"a server did not start: python {' '.join(arguments[:2])}")
            yield process.pid, addresses
            if process.poll() is not None:
                raise SystemExit(f"a server ended by itself with {process.returncode}")
        finally:
            process.terminate()
            process.communicate()  # waits, and closes the pipe
