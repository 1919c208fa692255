"""Measurements on the validation split after each epoch, which early stopping and `tune` decide by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp

from pipelines.evaluation import label_metrics
from pipelines.scoring import metrics
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries, Requests, with_targets
from tfrecs.errors import DivergedError

RANKING = ("recall@20", "ndcg@10", "mrr")


@dataclass(frozen=True)
class Validation:
    """Metrics and calibration of a model on the validation split.

    Attributes:
      values: metric -> value. `retrieval_loss` is the cross-entropy of the softmax over the whole catalogue;
        `<label>_loss` that of a binary label's uncalibrated logits, or the squared error in units of the range, as in
        training; with them `<label>_auc` or `<label>_rmse`. NaN where no event has the label.
      calibration: binary label -> (slope, offset) with the largest likelihood.
    """

    values: dict[str, float]
    calibration: dict[str, tuple[float, float]]


def validate(scorer: ModelScorer, requests: Requests, *, depth: int, batch: int) -> Validation:
    """Measure a model on requests.

    Args:
      scorer: of the model and the requests.
      requests: with their held-out events.
      depth: of the rankings.
      batch: requests at a time.

    Raises:
      DivergedError: scores are not finite.
    """
    queries = with_targets(requests.queries)
    losses: list[float] = []

    def score(part: Queries) -> np.ndarray:
        scores = scorer(part)
        if not np.isfinite(scores).all():
            raise DivergedError("training diverged: scores are not finite; lower train.learning_rate")
        log_z = logsumexp(scores.astype(np.float64), axis=1)
        losses.extend(float(log_z[row] - scores[row, targets].mean()) for row, targets in enumerate(part.targets))
        return scores

    ranking = metrics.rank(score, queries, num_items=len(scorer.item_embeddings), depth=depth, batch=batch)
    accuracy = metrics.accuracy(ranking, queries)
    values = {"retrieval_loss": float(np.mean(losses)) if losses else np.nan}
    labels, calibration = _labels(scorer, requests, batch)
    return Validation(values | labels | {name: accuracy[name] for name in RANKING}, calibration)


def _labels(
    scorer: ModelScorer, requests: Requests, batch: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    values: dict[str, float] = {}
    calibration: dict[str, tuple[float, float]] = {}
    if scorer.model.ranking_head is None:
        return values, calibration
    logits = scorer.pair_logits(scorer.all_query_embeddings(batch), batch)
    for column, label in enumerate(scorer.model.schema.labels):
        truth, label_logits = requests.pair_labels[:, column], logits[label.name].astype(np.float64)
        if label.task == "binary":
            values[f"{label.name}_loss"] = label_metrics.log_loss(truth, expit(label_logits))
            values[f"{label.name}_auc"] = label_metrics.auc(truth, label_logits)
            calibration[label.name] = label_metrics.platt_scaling(truth, label_logits)
        else:
            low, high = label.range or (0.0, 1.0)
            error = label_metrics.rmse(truth, low + expit(label_logits) * (high - low))
            values[f"{label.name}_loss"] = (error / (high - low)) ** 2
            values[f"{label.name}_rmse"] = error
    return values, calibration
