"""Profiles, order, picker and reasons, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from app_parts import CATEGORIES, SCALE

from serving.app.ranking import order, picker, profile, reasons
from serving.app.store.events import Event


def event(kind: str, item: str, at: float, value: float | None = None, scope: str = "item") -> Event:
    return Event(f"{kind}{item}{at}", kind, at, item, value, scope=scope)


def test_the_newest_items_go_to_the_model_each_once_with_its_last_known_value() -> None:
    events = [event("rating", "a", 1, 4.0), event("view", "b", 2), event("like", "c", 3), event("view", "a", 4)]
    assert profile.short_term(events, SCALE, 2) == profile.History(("c", "a"), (5.0, 4.0), (3, 4))
    whole = profile.short_term(events, SCALE, 9)
    assert whole.ids == ("b", "c", "a")
    assert math.isnan(whole.values[0])


def test_a_dislike_leaves_the_history_until_a_later_like_takes_it_back() -> None:
    events = [event("like", "a", 1), event("dislike", "a", 2, scope="kind"), event("like", "b", 3)]
    assert profile.short_term(events, SCALE, 9).ids == ("b",)
    assert (profile.disliked(events), profile.less_of(events)) == ({"a"}, {"a"})
    events.append(event("like", "a", 4))
    assert profile.short_term(events, SCALE, 9).ids == ("b", "a")
    assert (profile.disliked(events), profile.less_of(events)) == (set(), set())


def test_the_taste_is_an_exponentially_weighted_mean_of_what_was_taken() -> None:
    # a = 0.5: P = .5 x, then .5 y + .25 x, then (a rating of 1 speaks against) -.5 x + .25 y + .125 x = -.375 x + .25 y
    vectors, position = np.eye(2, dtype=np.float32), {"x": 0, "y": 1}
    events = [event("like", "x", 1), event("like", "y", 2), event("rating", "x", 3, 1.0), event("like", "unknown", 4)]
    taste, count = profile.taste(events, SCALE, 0.5, position, vectors)
    assert taste is not None
    assert taste == pytest.approx(np.array([-0.375, 0.25]) / math.hypot(0.375, 0.25), abs=1e-6)
    assert count == 3
    # A click says 0.3 of a like: P = .15 x.
    assert profile.taste([event("click", "x", 1)], SCALE, 0.5, position, vectors)[0] == pytest.approx([1, 0])
    assert profile.taste([], SCALE, 0.5, position, vectors) == (None, 0)


def test_a_rating_speaks_for_or_against_by_its_place_in_the_range() -> None:
    assert [SCALE.strength_of(event("rating", "a", 1, value)) for value in (1.0, 2.0, 3.0, 5.0)] == [-1, -0.5, 0, 1]


def test_verdicts_in_words_are_what_stands_out_against_the_catalogue() -> None:
    shares = {"Comedy": 0.5, "Horror": 0.5, "War": 1 / 6}
    likes = [event("like", "a", 1), event("like", "b", 2), event("dislike", "c", 3)]
    # Horror: 2 of 3 against a half; Comedy: -1 of 3.
    assert profile.rating_words(likes, SCALE, CATEGORIES, shares, 3) == "Horror"
    assert profile.rating_words([], SCALE, CATEGORIES, shares, 3) == ""


def test_less_of_a_kind_takes_from_what_is_near_it_alone() -> None:
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    scores = order.adjusted(np.zeros(3), vectors, None, 0.0, np.array([[1.0, 0.0]]), 2.0)
    assert scores == pytest.approx([-2.0, -1.2, 0.0])
    tasted = order.adjusted(np.zeros(3), vectors, np.array([0.0, 1.0]), 0.5, np.zeros((0, 2)), 2.0)
    assert tasted == pytest.approx([0.0, 0.4, 0.0])


def test_diversity_prefers_what_is_far_from_those_taken() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    scores = np.array([3.0, 2.9, 1.0])
    assert order.diverse(scores, vectors, 0.0, 3).tolist() == [0, 1, 2]
    # relevance 1, .95, 0; after 0: .5 * .95 - .5 * 1 = -.025 against 0 - 0 = 0.
    assert order.diverse(scores, vectors, 0.5, 3).tolist() == [0, 2, 1]


def test_the_picker_asks_about_each_kind_once_before_a_kind_twice() -> None:
    # Three of one kind with 100, 90 and 80 events, two of another with 30 and 20: popularity alone takes the three.
    vectors = np.array([[1.0, 0], [1.0, 0], [1.0, 0], [0, 1.0], [0, 1.0]], np.float32)
    counts = np.array([100.0, 90, 80, 30, 20])
    picked = picker.pick(vectors, counts, [], 3, candidates=5, demand=5)
    assert [row for row, _ in picked[:2]] == [0, 3]
    assert [gain for _, gain in picked] == pytest.approx([270 / 320, 50 / 320, 0.0])
    # Who has said something about the first kind is asked about the second.
    assert picker.pick(vectors, counts, [1], 1, candidates=5, demand=5)[0][0] == 3
    assert picker.pick(vectors, np.zeros(5), [], 3, candidates=5, demand=5) == []


def test_a_reason_says_what_its_number_says_and_nothing_without_one() -> None:
    near = reasons.because("a", "The A", 0.831, 0.3, "rating", 4.0)
    assert near is not None
    assert (near.text, near.value) == ("Close to The A, which you rated 4 (cosine 0.83)", 0.831)
    assert reasons.because("a", "The A", 0.29, 0.3, "like", None) is None
    assert reasons.because("a", "The A", 0.9, 0.3, "dislike", None) is None
    assert reasons.carried_by({"text": 1.0, "image": 0.0}) is None
    carried = reasons.carried_by({"text": 0.25, "image": 0.75})
    assert carried is not None
    assert (carried.name, carried.text) == ("image", "Mostly its image (75 %)".replace(" %", "%"))
    found = reasons.matched(["ghost", "a", "zoo"], {"ghost": 2, "a": 1}, {"ghost": 3, "a": 6}, 6)
    assert [(one.name, one.value) for one in found] == [("ghost", 2.0)]
    assert found[0].text == "Its text has “ghost” 2 times (3 of 6 items have it)"
    assert reasons.popular(0) is None
