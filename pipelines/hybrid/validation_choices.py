"""Requests of the validation split as choices between items, which weights are fitted to, and their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from pipelines.hybrid.likelihood import Choices
from pipelines.model.session import Session
from pipelines.runs.progress import progress
from pipelines.scoring import metrics
from pipelines.scoring.held_out import first_validation_requests
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries
from tfrecs.schema import History
from towers.hybrid import TOWER, HybridScore

__all__ = ["arrival_times", "choices_of_requests", "has_arrived", "validation_metrics"]

MEASURED = ("recall@20", "ndcg@10", "ndcg@20")


def arrival_times(session: Session) -> np.ndarray:
    """Find when each cold item first came up in the validation requests.

    Returns:
      int64 [N], 0 for warm items, the largest int64 for cold ones that never came up.
    """
    is_cold = session.is_cold
    return (
        np.where(is_cold, first_validation_requests(session), 0) if is_cold.any() else np.zeros(len(is_cold), np.int64)
    )


def has_arrived(queries: Queries, arrival: np.ndarray) -> np.ndarray:
    """Tell which requests have a target that somebody had met before, as far as times are known.

    Who meets a cold item first tells when it arrived, not how likely it is beside others afterwards.

    Returns:
      bool [Q].
    """
    return np.array(
        [time <= 0 or arrival[targets[0]] < time for targets, time in zip(queries.targets, queries.times, strict=True)],
        bool,
    )


def _not_arrived(arrival: np.ndarray, times: np.ndarray) -> np.ndarray:
    """bool [q, N]: items that had not arrived at the time of a request, as far as times are known."""
    return (arrival > times[:, None]) & (times > 0)[:, None]


def choices_of_requests(
    scorer: ModelScorer,
    hybrid: HybridScore,
    names: Sequence[str],
    queries: Queries,
    candidates: np.ndarray,
    is_cold: np.ndarray,
    arrival: np.ndarray,
    batch: int,
    link_rows: np.ndarray | None,
) -> Choices:
    """The parts of the target and of C candidates, NaN where one is a target, was seen, or had not arrived yet.

    Of several targets the first stands for the request. As in training, a cold item is no negative before anybody took it.
    The links of item i stand in row `link_rows[i]`, int32 [N], of the score's tables; None: in row i.
    """
    blocks = []
    place = np.full(len(is_cold), -1)  # of each item among the candidates
    place[candidates] = np.arange(len(candidates))

    # A graph for each part: TensorFlow warns of one that is traced anew for every part.
    part_of = {
        name: tf.function(partial(hybrid.part, name), reduce_retracing=True, autograph=False)
        for name in names
        if name != TOWER
    }
    with progress("parts of the hybrid score", "requests") as advance:
        advance(0, len(queries))
        for start in range(0, len(queries), batch):
            part = queries.slice(start, start + batch)
            history = _chosen(scorer, part, link_rows)
            first = np.array([targets[0] for targets in part.targets])
            block = np.empty((len(part), 1 + len(candidates), len(names)), np.float32)
            for column, name in enumerate(names):  # one part of all items at a time
                if name == TOWER:
                    values = scorer.tower_scores(part).numpy()
                else:
                    values = part_of[name](history.item_index, history.length).numpy()
                values = np.broadcast_to(values, (len(part), len(is_cold)))
                block[:, 0, column] = values[np.arange(len(part)), first]
                block[:, 1:, column] = values[:, candidates]
            excluded = _not_arrived(arrival[candidates], part.times)
            for row, (seen, targets) in enumerate(zip(part.histories, part.targets, strict=True)):
                of_row = place[np.concatenate([seen, targets])]
                excluded[row, of_row[of_row >= 0]] = True
            block[:, 1:][excluded] = np.nan
            blocks.append(block)
            advance(start + len(part), len(queries))
    chosen = np.array([targets[0] for targets in queries.targets])
    cold_candidates = np.broadcast_to(is_cold[candidates], (len(chosen), len(candidates)))
    cold = np.concatenate([is_cold[chosen][:, None], cold_candidates], axis=1)
    return Choices(np.concatenate(blocks), cold, float(np.log(len(is_cold) / len(candidates))))


def _chosen(scorer: ModelScorer, queries: Queries, link_rows: np.ndarray | None) -> History:
    """The events of histories that count, their items numbered as the rows of tables of links: see `choices_of_requests`."""
    history = scorer.model.chosen(scorer.history(queries))
    if link_rows is None:
        return history
    return history._replace(item_index=tf.gather(link_rows, history.item_index))


def validation_metrics(
    session: Session,
    scorer: ModelScorer,
    hybrid: HybridScore,
    queries: Queries,
    arrival: np.ndarray,
    link_rows: np.ndarray | None,
) -> dict[str, float]:
    """The metrics `MEASURED` of the hybrid score, in which items that had not arrived yet are not ranked.

    `link_rows`: see `choices_of_requests`.
    """

    def score(part: Queries) -> np.ndarray:
        history = _chosen(scorer, part, link_rows)
        scores = hybrid(scorer.tower_scores(part), history.item_index, history.length).numpy()
        return np.where(_not_arrived(arrival, part.times), -np.inf, scores)

    evaluate = session.config.evaluate
    ranking = metrics.rank(
        score,
        queries,
        num_items=len(session.catalogue),
        depth=evaluate.depth,
        batch=evaluate.batch,
        most_scores=evaluate.scores_in_memory,
    )
    accuracy = metrics.accuracy(ranking, queries)
    return {name: accuracy[name] for name in MEASURED}
