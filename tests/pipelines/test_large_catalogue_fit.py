"""The fit of the hybrid score of a catalogue that is too large for tables of every item's links."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import tensorflow as tf

from pipelines.hybrid.fit import fit_hybrid
from pipelines.hybrid.item_index import trained_index
from pipelines.hybrid.trained_run import TrainedRun
from pipelines.hybrid.validation_choices import arrival_times, has_arrived, validation_metrics
from pipelines.scoring.held_out import validation_requests
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.scoring.requests import with_targets


def test_weights_are_measured_on_the_links_of_histories_as_on_those_of_all_items(plain_run: TrainedRun) -> None:
    hybrid = plain_run.config.hybrid.model_copy(update={"linear_items": 1})
    session = dataclasses.replace(plain_run, config=plain_run.config.model_copy(update={"hybrid": hybrid}))
    requests = validation_requests(session)
    fitted = fit_hybrid(session, requests)
    assert fitted.item_item is not None

    index = trained_index(session, None)
    model = fitted.item_item.for_catalogue(index.trained, index.cold_start, hybrid.kept_cold_links(len(index)))
    weights = fitted.weights
    score = model.hybrid_score(weights.weights, weights.cold_weights, weights.softness)
    scorer = ModelScorer(ModelGraphs(session.model), requests.without_texts(), tf.constant(index.item_embeddings))
    arrival = arrival_times(session)
    queries = with_targets(requests.queries)
    queries = queries.take(has_arrived(queries, arrival))
    assert len(queries) <= hybrid.queries
    whole = validation_metrics(session, scorer, score, queries, arrival, None)
    last: dict[str, Any] = weights.steps[-1]
    assert {name: last[name] for name in whole} == pytest.approx(whole, abs=1e-9)
