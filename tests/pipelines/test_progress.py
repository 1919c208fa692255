"""Progress of long work: when lines appear in a log, and bars within bars on a terminal."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from pipelines.runs import progress as module
from pipelines.runs.progress import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list whose one number a test may change."""
    now = [0.0]
    monkeypatch.setattr("pipelines.runs.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_its_first_line_after_five_seconds_and_then_one_every_fifteen(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "console", Console(file=sys.stdout))
    with progress("work", "items") as advance:
        for second in range(0, 24):
            clock[0] = float(second)
            advance(10 * second, 400)
    assert capsys.readouterr().out.splitlines() == [
        "  work: 50/400, 10.0 items/s, 35 s left",
        "  work: 200/400, 10.0 items/s, 20 s left",
    ]


def test_a_step_within_a_step_shows_one_bar_and_both_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(module, "console", Console(file=screen, force_terminal=True))
    with progress("outer", "items") as outer:
        with progress("inner", "items") as inner:
            inner(1, 2)
        outer(1, 2)
    with progress("later", "items") as later:
        later(1, 2)
    assert "inner" not in screen.getvalue()
    assert "outer" in screen.getvalue()
    assert "later" in screen.getvalue()
