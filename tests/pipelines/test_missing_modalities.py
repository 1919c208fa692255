"""Missing content and groups of the catalogue, by hand and on the small trained model."""

from __future__ import annotations

import numpy as np
import pytest
from whole import Whole

from pipelines.config import EvaluateConfig
from pipelines.evaluation.exposure import exposure, modality_weights_by_group, popularity_groups
from pipelines.evaluation.missing_modalities import (
    ALL,
    HALF,
    NOTHING,
    SHUFFLED,
    choose_patterns,
    shuffled_presence,
    subset_limit,
)
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Queries


def test_every_subset_where_there_is_room() -> None:
    assert choose_patterns(["a", "b"], 32) == [("a", "b"), ("a",), ("b",), ()]
    four = choose_patterns(["text", "image", "audio", "mood"], 32)
    assert len(four) == len(set(four)) == 16
    assert [len(part) for part in four] == [4, *[3] * 4, *[2] * 6, *[1] * 4, 0]


def test_of_too_many_the_telling_ones() -> None:
    names = [f"m{index}" for index in range(20)]
    chosen = choose_patterns(names, 32)
    assert len(chosen) == len(set(chosen)) == 32
    sizes = [len(part) for part in chosen]
    assert (sizes.count(20), sizes.count(0), sizes.count(1), sizes.count(19)) == (1, 1, 20, 10)
    # Everything, nothing, 6 alone, 6 without one, and with the rest of the room subsets of four.
    sizes = [len(part) for part in choose_patterns([f"m{index}" for index in range(6)], 20)]
    assert {size: sizes.count(size) for size in set(sizes)} == {6: 1, 0: 1, 1: 6, 5: 6, 4: 6}


def test_a_large_catalogue_is_ranked_with_the_telling_subsets_alone() -> None:
    settings = EvaluateConfig(patterns=32, pattern_items=1_000_000)
    assert subset_limit(5, 600, settings) == 32
    assert subset_limit(5, 50_000, settings) == 20
    assert subset_limit(5, 1_000_000, settings) == 12  # everything, nothing, five alone, five left out
    assert subset_limit(20, 1_000_000, settings) == 32


def test_half_of_what_is_there_goes() -> None:
    presence = np.array([[True, False, True], [True, True, False]] * 25)
    left = shuffled_presence(presence, 0.5, np.random.default_rng(0))
    assert left.sum() == 50
    assert not (left & ~presence).any()
    assert presence.sum() == 100


def test_popularity_groups_are_tenths_of_what_was_seen_in_training() -> None:
    counts = np.array([5, 0, *range(10, 29), 0])
    groups = popularity_groups(counts)
    assert len(groups) == 11
    assert groups["not in training"].tolist() == [1, 21]
    assert groups["tenth 1: 5 to 10 events"].tolist() == [0, 2]
    assert sorted(np.concatenate(list(groups.values())).tolist()) == list(range(22))
    assert list(popularity_groups(np.array([3, 7]))) == ["tenth 1: 3 to 3 events", "tenth 2: 7 to 7 events"]


def test_exposure_is_the_share_of_the_places() -> None:
    queries = Queries(
        np.array(["a", "b"]), np.zeros(2, np.int64), [np.zeros(0, np.int32)] * 2,
        [np.array([2], np.int32), np.array([0], np.int32)], np.arange(2),
    )  # fmt: skip
    ranking = Ranking(np.array([[0, 1, 2], [0, 3, -1]], np.int32), 4)
    groups = {"head": np.array([0]), "tail": np.array([1, 2, 3])}
    found = exposure({"model": ranking}, queries, groups, 2)
    assert found == {"chosen": [0.5, 0.5], "model": [0.5, 0.5]}
    assert exposure({"model": ranking}, queries, groups, 3)["model"] == [2 / 5, 3 / 5]


def test_weights_are_averaged_over_items_that_have_content() -> None:
    weights = np.array([[0.2, 0.8], [0.6, 0.4], [0.0, 0.0], [1.0, 0.0]])
    categories = [{"noir"}, {"noir", "film"}, {"noir"}, {"film"}]
    rows = modality_weights_by_group(
        weights, ["text", "image"], {"low": np.array([2]), "high": np.array([1, 3])}, categories, 1
    )
    assert [(row["by"], row["group"], row["items"]) for row in rows] == [
        ("by popularity in training", "all items", 3),
        ("by popularity in training", "high", 2),
        ("by category", "noir", 2),
    ]
    assert rows[1]["weights"] == pytest.approx({"text": 0.8, "image": 0.2})
    assert rows[2]["weights"] == pytest.approx({"text": 0.4, "image": 0.6})
    assert modality_weights_by_group(np.zeros((4, 0)), [], {}, categories, 3) == []


@pytest.mark.slow
def test_the_report_has_every_subset_and_both_controls(whole: Whole) -> None:
    rows = whole.evaluation.report.patterns
    names = [row["content"] for row in rows]
    assert len(names) == len(set(names)) == 18
    assert (names[0], names[15], names[16], names[17]) == (ALL, NOTHING, HALF, SHUFFLED)
    # The same tables, by another way: all 240 queries are under the limit, so these are the slices.
    found = {row["content"]: row for row in rows}
    report = whole.evaluation.report
    assert found[ALL]["recall@20"] == pytest.approx(report.model["recall@20"])
    assert found["image + audio + mood"]["ndcg@10"] == pytest.approx(report.slices["without_text"]["ndcg@10"])
    # Without any content and ids all items are alike.
    assert found[NOTHING]["content_only_recall@20"] < 0.5
    groups = report.modality_weights
    assert sum(groups[0]["weights"].values()) == pytest.approx(1.0, abs=1e-5)
    for shares in report.exposure["systems"].values():
        assert sum(shares) == pytest.approx(1.0)
