"""The ranking head on held-out events: beside its baselines, its calibration, and as a help to retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from pipelines.config import EvaluateConfig
from pipelines.evaluation.label_baselines import choose_bias, popularity_line, predict_bias
from pipelines.evaluation.label_metrics import platt_scaling, probability_metrics, reliability_curve, rmse
from pipelines.evaluation.systems import rank
from pipelines.scoring import metrics
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries, Requests, with_targets
from tfrecs.reading.training_events import LabelledEvents
from tfrecs.schema import LabelSchema

__all__ = ["LabelPredictions", "RetrievedItems", "choose_rerank_weight", "measure_labels", "predict_labels", "rerank"]

_CLIP = 0.01  # bounds of the bias baseline's probabilities before it is calibrated
_CHOSEN_BY = "ndcg@10"

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class RetrievedItems:
    """The first items that retrieval ranks for each query, with the ranking head's logits of them.

    Attributes:
      queries: Q queries with a target each.
      ranking: their lists [Q, depth], best first, -1 where there were fewer candidates.
      scores: float [Q, depth], scores of retrieval.
      logits: label -> float [Q, depth].
    """

    queries: Queries
    ranking: Ranking
    scores: Floats
    logits: dict[str, Floats]


@dataclass(frozen=True)
class LabelPredictions:
    """The ranking head's predictions for a split.

    Attributes:
      requests: Q requests of the split.
      logits: label -> float32 [E], of their held-out events.
      retrieved: its predictions for the items that retrieval ranks first.
    """

    requests: Requests
    logits: dict[str, np.ndarray]
    retrieved: RetrievedItems


def predict_labels(scorer: ModelScorer, settings: EvaluateConfig, ranking: Ranking | None = None) -> LabelPredictions:
    """Predict the labels of a scorer's held-out events and retrieved items.

    Args:
      scorer: of the requests.
      settings: section `evaluate`.
      ranking: the scorer's lists of the requests with a target, with scores; None: they are ranked here.
    """
    requests = scorer.requests
    query_embeddings = scorer.all_query_embeddings(settings.batch)
    queries = with_targets(requests.queries)
    if ranking is None:
        ranking = rank(scorer, queries, len(scorer.item_embeddings), settings, label="ranking the validation split")
    ranking = ranking.first(settings.depth)
    assert ranking.scores is not None
    # Of an empty place 0, so that sums with it are finite; `rerank` leaves it behind the items.
    scores = np.where(ranking.items >= 0, ranking.scores, 0.0).astype(np.float32)
    logits = scorer.logits(query_embeddings[queries.rows], np.maximum(ranking.items, 0), settings.batch)
    retrieved = RetrievedItems(queries, ranking, scores, logits)
    return LabelPredictions(requests, scorer.pair_logits(query_embeddings, settings.batch), retrieved)


def measure_labels(
    scorer: ModelScorer,
    validation: LabelPredictions,
    test: LabelPredictions,
    training: LabelledEvents,
    train_counts: np.ndarray,
    settings: EvaluateConfig,
) -> dict[str, dict[str, Any]]:
    """Measure the ranking head on the test split.

    Args:
      scorer: of a model with a ranking head.
      validation: predictions for the validation split, which chooses and calibrates the baselines.
      test: predictions for the test split.
      training: every training event with its labels.
      train_counts: int [N], positive training events of each item: its popularity.
      settings: bins, shrinkages of the bias baseline and weights to try in re-ranking.

    Returns:
      Label -> metrics. Of a binary label `auc logloss brier ece` of the calibrated head, `uncalibrated` (the same of
      the raw logits), `calibration`, `baselines` (`popularity` and `bias`, Platt-scaled on the validation split like
      the head) and `reliability`, before and after calibration. Of a regression label `rmse` and `baselines`. Of each,
      `reranking`.
    """
    popularity = np.log1p(train_counts.astype(np.float64))
    head = scorer.model.ranking_head
    assert head is not None
    result = {}
    for column, label in enumerate(scorer.model.schema.labels):
        bounds = label.range if label.range is not None else (0.0, 1.0)
        labels = training.labels[:, column]
        bias_model = choose_bias(
            training.items, labels, len(train_counts), validation.requests, column, bounds, settings.shrinkages
        )
        splits = (validation.requests, test.requests)
        bias = [predict_bias(bias_model, requests, column, *bounds) for requests in splits]
        truth = [requests.pair_labels[:, column] for requests in splits]
        event_popularity = [popularity[requests.pair_items] for requests in splits]
        raw = test.logits[label.name].astype(np.float64)
        if label.task == "binary":
            baselines = {
                "popularity": event_popularity,
                "bias": [logit(np.clip(values, _CLIP, 1 - _CLIP)) for values in bias],
            }
            calibration = float(head.slope[column]), float(head.offset[column])
            result[label.name] = _measure_binary(truth, raw, calibration, baselines, settings.bins)
        else:
            line = popularity_line(popularity, training.items, labels)
            result[label.name] = _measure_regression(label, truth[1], raw, event_popularity[1], line, bias[1])
        result[label.name]["reranking"] = _measure_reranking(
            label.name, validation.retrieved, test.retrieved, settings.rerank_weights
        )
    return result


def _measure_binary(
    truth: Sequence[np.ndarray],
    raw: np.ndarray,
    calibration: tuple[float, float],
    baselines: dict[str, list[np.ndarray]],
    bins: int,
) -> dict[str, Any]:
    """Measure a binary label. `truth` and the logits of each baseline: of the validation and of the test split."""
    slope, offset = calibration
    probabilities = {"uncalibrated": expit(raw), "calibrated": expit(slope * raw + offset)}
    result: dict[str, Any] = probability_metrics(truth[1], probabilities["calibrated"], bins)
    result["uncalibrated"] = probability_metrics(truth[1], probabilities["uncalibrated"], bins)
    result["calibration"] = {"slope": slope, "offset": offset}
    result["baselines"] = {}
    for name, (validation_logits, test_logits) in baselines.items():
        slope, offset = platt_scaling(truth[0], validation_logits)
        result["baselines"][name] = probability_metrics(truth[1], expit(slope * test_logits + offset), bins)
    result["reliability"] = {}
    for name, values in probabilities.items():
        curve = reliability_curve(truth[1], values, bins)
        result["reliability"][name] = {
            "count": curve.count.tolist(), "predicted": curve.predicted.tolist(), "observed": curve.observed.tolist()
        }  # fmt: skip
    return result


def _measure_regression(
    label: LabelSchema,
    truth: np.ndarray,
    raw: np.ndarray,
    popularity: np.ndarray,
    line: tuple[float, float],
    bias: np.ndarray,
) -> dict[str, Any]:
    """Measure a regression label. `line`: slope and offset from popularity to the label."""
    low, high = label.range if label.range is not None else (0.0, 1.0)
    slope, offset = line
    return {
        "rmse": rmse(truth, low + expit(raw) * (high - low)),
        "baselines": {
            "popularity": {"rmse": rmse(truth, np.clip(slope * popularity + offset, low, high))},
            "bias": {"rmse": rmse(truth, bias)},
        },
    }


def rerank(ranking: Ranking, scores: Floats) -> Ranking:
    """Sort each list by descending score [Q, depth]; of equal scores the one that came first stays first."""
    order = np.argsort(np.where(ranking.items >= 0, -scores, np.inf), axis=1, kind="stable")
    return Ranking(np.take_along_axis(ranking.items, order, axis=1), ranking.num_items)


def choose_rerank_weight(retrieved: RetrievedItems, label: str, weights: Sequence[float]) -> float:
    """Choose the weight of a label's logit beside the retrieval score that gains most NDCG@10.

    Args:
      retrieved: of the validation split.
      label: whose logits are added.
      weights: to choose from.

    Returns:
      0 unless the mean gain is more than two standard errors over queries. A smaller gain may as well be chance, and
      the best of several weights is lucky more often than a single one.
    """
    if not len(retrieved.queries):
        return 0.0
    plain = metrics.per_query(retrieved.ranking, retrieved.queries, _CHOSEN_BY)
    best, gain = 0.0, 0.0
    for weight in weights:
        ranking = rerank(retrieved.ranking, retrieved.scores + weight * retrieved.logits[label])
        gains = metrics.per_query(ranking, retrieved.queries, _CHOSEN_BY) - plain
        error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
        if gains.mean() > max(gain, 2 * error):
            best, gain = float(weight), float(gains.mean())
    return best


def _measure_reranking(
    label: str, validation: RetrievedItems, test: RetrievedItems, weights: Sequence[float]
) -> dict[str, float]:
    """Compare NDCG of retrieval, of retrieval + weight x label, and of the label alone within the same lists."""
    weight = choose_rerank_weight(validation, label, weights)
    result = {"weight": weight}
    for split, retrieved in (("valid", validation), ("test", test)):
        orders = {
            "retrieval": retrieved.ranking,
            "blend": rerank(retrieved.ranking, retrieved.scores + weight * retrieved.logits[label]),
            "label_alone": rerank(retrieved.ranking, retrieved.logits[label]),
        }
        for name, ranking in orders.items():
            for metric in ("ndcg@10", "ndcg@20"):
                values = metrics.per_query(ranking, retrieved.queries, metric)
                result[f"{split}_{name}_{metric}"] = float(values.mean()) if len(values) else float("nan")
    return result
