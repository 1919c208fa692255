"""Progress of long work: a bar with rate and time left on a terminal; elsewhere a line after 5 seconds and every 15."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# No markup: a title such as "Film [1979]" or a path such as "exp [v1]" is printed as it is.
console = Console(highlight=False, soft_wrap=True, markup=False)

Advance = Callable[[int, int], None]
"""Called with how much is done and the total."""

# Seconds to the first line, and between further ones, where there is no terminal.
_FIRST_LINE, _LINE_EVERY = 5.0, 15.0


def say(text: str) -> None:
    """Print a line and flush, so that it appears at once in a log file."""
    console.print(text)
    console.file.flush()


@contextmanager
def progress(label: str, unit: str, before: int = 0) -> Iterator[Advance]:
    """Show the progress of a step: a bar on a terminal, lines in a log, nothing in a log where it is quick.

    Args:
      label: name of the step.
      unit: of what is counted, in the plural.
      before: how many an earlier process has done; they do not count towards the rate.

    Yields:
      `advance(done, total)`, to be called as often as one likes.
    """
    if sys.stdout.isatty():
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(label, total=None, completed=before, rate="")
            started = time.monotonic()

            def advance(done: int, total: int) -> None:
                rate = (done - before) / max(time.monotonic() - started, 1e-6)
                bar.update(task, completed=done, total=total, rate=f"{rate:,.1f} {unit}/s")

            yield advance
        return
    # The clock starts at the first call, so that tracing a graph before it does not count towards the rate.
    first: tuple[float, int] | None = None
    due = time.monotonic() + _FIRST_LINE

    def advance_line(done: int, total: int) -> None:
        nonlocal first, due
        now = time.monotonic()
        if first is None:
            first = (now, done)
        if now < due or done == first[1]:
            return
        due = now + _LINE_EVERY
        rate = (done - first[1]) / (now - first[0])
        say(f"  {label}: {done:,}/{total:,}, {rate:,.1f} {unit}/s, {(total - done) / rate:.0f} s left")

    yield advance_line
