"""Progress of long work: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(highlight=False, soft_wrap=True)

Advance = Callable[[int, int], None]

_LINE_EVERY = 15.0  # seconds between lines where there is no terminal


def say(text: str) -> None:
    """A line to standard output, at once: whoever follows a log file waits for it."""
    console.print(text, markup=False)
    console.file.flush()


@contextmanager
def progress(label: str, unit: str, before: int = 0) -> Iterator[Advance]:
    """Yields `advance(done, total)`; call it as often as you like.

    `before` of what is done was done by an earlier process: it counts, but not towards the rate. On a terminal a bar
    that vanishes when done; in a log a line every quarter of a minute, none for quick work.
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
    # The clock starts at the first call: before it a graph was traced, which says nothing of the rate.
    first: tuple[float, int] | None = None
    said = time.monotonic()

    def advance_line(done: int, total: int) -> None:
        nonlocal first, said
        now = time.monotonic()
        if first is None:
            first = (now, done)
        if now - said < _LINE_EVERY or done == first[1]:
            return
        said = now
        rate = (done - first[1]) / (now - first[0])
        say(f"  {label}: {done:,}/{total:,}, {rate:,.1f} {unit}/s, {(total - done) / rate:.0f} s left")

    yield advance_line
