"""Profiles, reranking, taste picker and reasons against values computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from app_parts import CATEGORIES, SCALE

from serving.app.ranking import profile, reasons, reranking, taste_picker
from serving.app.store.base import Event


def event(kind: str, item: str, at: float, value: float | None = None, scope: str = "item") -> Event:
    return Event(f"{kind}{item}{at}", kind, at, item, value, scope=scope)


def test_recent_history_has_each_item_once_with_its_last_known_value() -> None:
    events = [event("rating", "a", 1, 4.0), event("view", "b", 2), event("like", "c", 3), event("view", "a", 4)]
    assert profile.recent_history(events, SCALE, 2) == profile.ProfileHistory(("c", "a"), (5.0, 4.0), (3, 4))
    whole = profile.recent_history(events, SCALE, 9)
    assert whole.ids == ("b", "c", "a")
    assert math.isnan(whole.values[0])


def test_a_disliked_item_leaves_the_history_until_a_later_like() -> None:
    events = [event("like", "a", 1), event("dislike", "a", 2, scope="kind"), event("like", "b", 3)]
    assert profile.recent_history(events, SCALE, 9).ids == ("b",)
    assert (profile.disliked_items(events), profile.unwanted_kinds(events)) == ({"a"}, {"a"})
    events.append(event("like", "a", 4))
    assert profile.recent_history(events, SCALE, 9).ids == ("b", "a")
    assert (profile.disliked_items(events), profile.unwanted_kinds(events)) == (set(), set())


def test_a_model_that_knows_explicit_negatives_gets_the_dislike_with_its_weight() -> None:
    weighted = replace(SCALE, event_values={"view": 0.2, "like": 1.0, "dislike": -1.0}, weighted=True)
    events = [event("like", "a", 1), event("dislike", "a", 2), event("view", "a", 3), event("view", "b", 4)]
    events += [event("dislike", "c", 5), event("like", "c", 6), event("rating", "d", 7, value=4.0)]
    history = profile.recent_history(events, weighted, 10)
    # Looked at again after the dislike, a stays disliked; a later like of c stands alone; a rating is no weight.
    assert history.ids == ("a", "b", "c", "d")
    assert history.values[:3] == (-1.0, 0.2, 1.0)
    assert math.isnan(history.values[3])
    assert history.times == (3, 4, 6, 7)
    without = replace(weighted, event_values={"view": 0.2, "like": 1.0})
    assert profile.recent_history(events, without, 10).ids == ("b", "c", "d")


def test_long_term_taste_is_an_exponential_moving_average() -> None:
    # a = 0.5: P = .5 x, then .5 y + .25 x, then (a rating of 1 speaks against) -.5 x + .25 y + .125 x = -.375 x + .25 y
    vectors, position = np.eye(2, dtype=np.float32), {"x": 0, "y": 1}
    events = [event("like", "x", 1), event("like", "y", 2), event("rating", "x", 3, 1.0), event("like", "unknown", 4)]
    taste, count = profile.long_term_taste(events, SCALE, 0.5, position, vectors)
    assert taste is not None
    assert taste == pytest.approx(np.array([-0.375, 0.25]) / math.hypot(0.375, 0.25), abs=1e-6)
    assert count == 3
    # A click says 0.3 of a like: P = .15 x.
    assert profile.long_term_taste([event("click", "x", 1)], SCALE, 0.5, position, vectors)[0] == pytest.approx([1, 0])
    assert profile.long_term_taste([], SCALE, 0.5, position, vectors) == (None, 0)


def test_the_strength_of_a_rating_follows_its_position_in_the_range() -> None:
    assert [SCALE.strength_of(event("rating", "a", 1, value)) for value in (1.0, 2.0, 3.0, 5.0)] == [-1, -0.5, 0, 1]


def test_rating_words_are_categories_that_stand_out_from_the_catalogue() -> None:
    shares = {"Comedy": 0.5, "Horror": 0.5, "War": 1 / 6}
    likes = [event("like", "a", 1), event("like", "b", 2), event("dislike", "c", 3)]
    # Horror: 2 of 3 against a half; Comedy: -1 of 3.
    assert profile.rating_words(likes, SCALE, CATEGORIES, shares, 3) == "Horror"
    assert profile.rating_words([], SCALE, CATEGORIES, shares, 3) == ""


def test_unwanted_items_lower_the_scores_of_near_items_only() -> None:
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    scores = reranking.adjust_scores(np.zeros(3), vectors, None, 0.0, np.array([[1.0, 0.0]]), 2.0)
    assert scores == pytest.approx([-2.0, -1.2, 0.0])
    tasted = reranking.adjust_scores(np.zeros(3), vectors, np.array([0.0, 1.0]), 0.5, np.zeros((0, 2)), 2.0)
    assert tasted == pytest.approx([0.0, 0.4, 0.0])


def test_maximal_marginal_relevance_prefers_items_far_from_the_selected() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    scores = np.array([3.0, 2.9, 1.0])
    assert reranking.maximal_marginal_relevance(scores, vectors, 0.0, 3).tolist() == [0, 1, 2]
    # relevance 1, .95, 0; after 0: .5 * .95 - .5 * 1 = -.025 against 0 - 0 = 0.
    assert reranking.maximal_marginal_relevance(scores, vectors, 0.5, 3).tolist() == [0, 2, 1]


def test_the_taste_picker_covers_each_kind_before_repeating_one() -> None:
    # Three of one kind with 100, 90 and 80 events, two of another with 30 and 20: popularity alone takes the three.
    vectors = np.array([[1.0, 0], [1.0, 0], [1.0, 0], [0, 1.0], [0, 1.0]], np.float32)
    counts = np.array([100.0, 90, 80, 30, 20])
    picked = taste_picker.pick_items(vectors, counts, [], 3, candidates=5, demand=5)
    assert [row for row, _ in picked[:2]] == [0, 3]
    assert [gain for _, gain in picked] == pytest.approx([270 / 320, 50 / 320, 0.0])
    # Who has said something about the first kind is asked about the second.
    assert taste_picker.pick_items(vectors, counts, [1], 1, candidates=5, demand=5)[0][0] == 3
    assert taste_picker.pick_items(vectors, np.zeros(5), [], 3, candidates=5, demand=5) == []


def test_reasons_state_their_number_and_are_left_out_without_one() -> None:
    near = reasons.history_reason("a", "The A", 0.831, 0.3, "rating", 4.0)
    assert near is not None
    assert (near.text, near.value) == ("Close to The A, which you rated 4 (cosine 0.83)", 0.831)
    assert reasons.history_reason("a", "The A", 0.29, 0.3, "like", None) is None
    assert reasons.history_reason("a", "The A", 0.9, 0.3, "dislike", None) is None
    assert reasons.modality_reason({"text": 1.0, "image": 0.0}) is None
    carried = reasons.modality_reason({"text": 0.25, "image": 0.75})
    assert carried is not None
    assert (carried.name, carried.text) == ("image", "Mostly its image (75 %)".replace(" %", "%"))
    found = reasons.word_reasons(["ghost", "a", "zoo"], {"ghost": 2, "a": 1}, {"ghost": 3, "a": 6}, 6)
    assert [(one.name, one.value) for one in found] == [("ghost", 2.0)]
    assert found[0].text == "Its text has “ghost” 2 times (3 of 6 items have it)"
    assert reasons.popularity_reason(0) is None
