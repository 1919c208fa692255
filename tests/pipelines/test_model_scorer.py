"""Scorers of held-out requests: frozen, and of one model they share the traced functions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipelines.model.session import Session
from pipelines.scoring.held_out import held_out_requests
from pipelines.scoring.model_scorer import ModelScorer


def test_a_scorer_over_other_items_traces_nothing_anew_and_leaves_the_first_as_it_was(session: Session) -> None:
    requests = held_out_requests(session)
    queries = requests.queries.slice(0, 8)
    scorer = ModelScorer.of_towers(session.model, requests)
    before = scorer(queries)
    traced = scorer.graphs.query_embeddings.experimental_get_tracing_count()
    reversed_items = scorer.with_items(scorer.item_embeddings[::-1])
    np.testing.assert_allclose(
        reversed_items.model.scores(scorer.query_embeddings(queries), reversed_items.item_embeddings),
        before[:, ::-1],
        rtol=1e-5,
        atol=1e-5,
    )
    assert reversed_items(queries).shape == before.shape
    assert scorer.graphs.query_embeddings.experimental_get_tracing_count() == traced
    np.testing.assert_array_equal(scorer(queries), before)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scorer.item_embeddings = reversed_items.item_embeddings  # type: ignore[misc]
