"""The hybrid score of a session: what was counted in training, with the weights that it has learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from pipelines.hybrid.item_index import Index, index_with, likeness_with
from pipelines.item_item.statistics import Linear, completed, count_statistics
from pipelines.model.session import Session
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.scoring.requests import Requests
from pipelines.search.lexical_index import Lexicon, item_texts
from pipelines.search.lexical_scorer import Words, words_of
from towers.hybrid import HybridScore, Statistics

WithContent = Callable[[np.ndarray, np.ndarray | None], tuple[tf.Tensor, HybridScore | None]]
"""presence bool [N, M], whose content each item has int64 [N] (None: its own) -> table float [N, D] and hybrid score."""


def counted(session: Session, linear: Linear, alike: np.ndarray | None) -> Statistics:
    """What was counted in training, of the trained catalogue; for `linear` and `alike`, the items' likeness, see
    `pipelines.item_item.statistics.neighbour_links`."""
    return count_statistics(
        session.events,
        len(session.catalogue),
        session.config.user.max_history,
        ordered=session.manifest.schema_.ordered,
        linear=linear,
        likeness=alike,
        settings=session.config.hybrid,
    )


def of_index(session: Session, statistics: Statistics, index: Index) -> Statistics:
    """Statistics for the items of an index; `statistics` from `counted`."""
    return completed(statistics, index.trained, index.loans, session.config.hybrid.new_links)


def index_statistics(session: Session, index: Index) -> Statistics | None:
    """Statistics for the items of an index; None where the run has learned no hybrid score."""
    blend = session.blend
    if blend is None:
        return None
    return of_index(session, counted(session, blend.linear, session.likeness if blend.content else None), index)


def hybrid_score(session: Session, statistics: Statistics | None) -> HybridScore | None:
    """The run's hybrid score over the items of the statistics; None where it has learned none."""
    blend = session.blend
    if blend is None or statistics is None:
        return None
    score = HybridScore(statistics, blend.weights, blend.new_weights, blend.softness)
    return score.exploring(session.config.hybrid.explore)


def trained_scorer(session: Session, requests: Requests, variant: WithContent) -> ModelScorer:
    """The trained model as it is exported: the towers, in the hybrid score where the run has one, and the words of what
    was typed. `variant`: `with_content` of the session."""
    table, hybrid = variant(session.items.presence, None)
    words = request_words(session, requests, session.lexicon, lambda: item_texts(session.model, session.catalogue))
    return ModelScorer(ModelGraphs(session.model), requests, table, hybrid, words)


def request_words(
    session: Session, requests: Requests, lexicon: Lexicon | None, texts: Callable[[], Sequence[str]]
) -> Words | None:
    """A lexicon over the texts of the items; None where there is none, or no request has a text to ask them."""
    encoder = session.model.query_encoder
    if encoder is None or lexicon is None or requests.texts is None or not (requests.texts != "").any():
        return None
    return words_of(lexicon, texts(), session.manifest.schema_.modalities.index(encoder.schema.name))


def with_content(session: Session) -> WithContent:
    """The catalogue with some of its content. What was counted in training is worked out once for all calls where content
    has no part in it; the hybrid score too where no item is new besides: it knows all of them by their ids."""
    blend = session.blend
    once = None if blend is None or blend.content else counted(session, blend.linear, None)
    known = None if session.unseen.any() else hybrid_score(session, once)

    def of(presence: np.ndarray, order: np.ndarray | None) -> tuple[tf.Tensor, HybridScore | None]:
        alike = likeness_with(session, presence, order)
        index = index_with(session, presence, order, alike)
        if blend is None or known is not None:
            return tf.constant(index.table), known
        statistics = once or counted(session, blend.linear, alike)
        return tf.constant(index.table), hybrid_score(session, of_index(session, statistics, index))

    return of
