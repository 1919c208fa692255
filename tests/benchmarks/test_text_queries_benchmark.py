"""The benchmark of text queries: which queries have no word in common with their answer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("Stemmer", reason="needs benchmarks/requirements-benchmarks.txt")

from benchmarks.text_queries import without_common_word


def test_a_query_without_a_word_in_common_is_told_by_words_alone() -> None:
    queries = ["Robots in space!", "a funny dog", "the sea", "space", "of the"]
    answers = ["A ROBOT, lost in Space.", "hilarious puppy", "the the the", "spaceship", "anything"]
    np.testing.assert_array_equal(without_common_word(queries, answers), [False, True, True, True, False])
