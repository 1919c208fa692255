"""The accuracy-diversity curve, on a catalogue where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.evaluation.beyond_accuracy import accuracy_diversity_curve
from pipelines.reporting.plots import labelled_points
from pipelines.scoring import metrics
from pipelines.scoring.requests import Queries

# Ten groups of eight items; those of a group are alike, items of different groups are orthogonal.
GROUPS, EACH = 10, 8
TABLE = np.repeat(np.eye(GROUPS, dtype=np.float32), EACH, axis=0)
COUNT = GROUPS * EACH


def queries(histories: list[list[int]], targets: list[list[int]]) -> Queries:
    number = len(histories)
    return Queries(
        user_ids=np.array([f"u{row}" for row in range(number)]),
        times=np.zeros(number, np.int64),
        histories=[np.array(history, np.int32) for history in histories],
        targets=[np.array(target, np.int32) for target in targets],
        rows=np.arange(number),
    )


def scorer(part: Queries) -> np.ndarray:
    """Item 0 is best, 79 the last, for everyone."""
    return np.tile(-np.arange(COUNT, dtype=np.float32), [len(part), 1])


def curve(asked: Queries, levels: tuple[float, ...], batch: int = 2) -> list[dict[str, float]]:
    ranking = metrics.rank(scorer, asked, num_items=COUNT, depth=5 * 20, batch=batch)
    return accuracy_diversity_curve(ranking, asked, TABLE, levels=levels, batch=batch)


def test_the_ends_of_the_curve_by_hand() -> None:
    plain, most = curve(queries([[], []], [[3], [79]]), (0.0, 1.0))
    # The first 20 are groups 0 and 1 whole and half of group 2: of the 190 pairs 28 + 28 + 6 are alike.
    assert plain["diversity"] == 0.0
    assert plain["recall@20"] == 0.5
    assert plain["ndcg@10"] == pytest.approx(0.5 / np.log2(5))
    assert plain["diversity@20"] == pytest.approx(1 - 62 / 190)
    assert plain["coverage@20"] == 20 / COUNT
    # One of each of the ten groups first, then again: at best every group twice, ten pairs alike.
    assert most["diversity@20"] >= plain["diversity@20"]
    assert most["diversity@20"] > 0.8


def test_history_is_excluded_and_slices_do_not_matter() -> None:
    asked = queries([[0, 1, 2], [], [5]], [[3], [3], [3]])
    assert curve(asked, (0.0, 0.3), batch=1) == curve(asked, (0.0, 0.3), batch=64)
    # With 0, 1, 2 gone item 3 is first; with 5 gone, as with nothing, it is fourth.
    assert curve(asked, (0.0,))[0]["ndcg@10"] == pytest.approx((1 + 2 / np.log2(5)) / 3)


def test_without_queries_nothing_is_defined() -> None:
    (row,) = curve(queries([], []), (0.5,))
    assert row["diversity"] == 0.5
    assert all(np.isnan(value) for name, value in row.items() if name != "diversity")


def test_no_two_labels_lie_over_each_other() -> None:
    places = [(0.0, 1.0), (0.01, 1.0), (0.05, 0.98), (math.nan, 1.0), (0.12, 0.97), (0.13, 0.5)]
    # .01 and .05 are within .1 of the first; .12 is not; .13 is near it in x but half a panel lower.
    assert labelled_points(places, (0.1, 0.06)) == [0, 4, 5]
    assert labelled_points([], (0.1, 0.1)) == []
