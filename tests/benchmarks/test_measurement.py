"""The benchmark's table says `holds` where the limit is kept, on the right side of it."""

from __future__ import annotations

import pytest

from benchmarks.measurement import Measurement


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "holds"),
    [(0.8, 0.8, True, True), (0.79, 0.8, True, False), (0.04, 0.05, False, True), (0.06, 0.05, False, False)],
)
def test_a_ratio_holds_on_the_right_side_of_its_limit(value: float, limit: float, at_least: bool, holds: bool) -> None:
    row = Measurement("input", value, limit, at_least, "")
    assert row.as_dict()["holds"] is holds
    assert ("MISSED" in row.line()) is not holds
