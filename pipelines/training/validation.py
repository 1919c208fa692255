"""Measurements on the validation split after each epoch, which early stopping and `tune` decide by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp

from pipelines.config import EvaluateConfig
from pipelines.evaluation import label_metrics
from pipelines.evaluation.systems import rank
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


class _LossOfBlocks:
    """A scorer that passes the scores of another on, and sums up the cross-entropy of the softmax over all items.

    Attributes:
      losses: of each query so far, in nats.
    """

    def __init__(self, scorer: ModelScorer):
        self.scorer, self.losses = scorer, list[float]()

    def __call__(self, queries: Queries) -> np.ndarray:
        return next(self.blocks(queries, len(self.scorer.item_embeddings)))

    def blocks(self, queries: Queries, size: int) -> Iterator[np.ndarray]:
        log_z = np.full(len(queries), -np.inf)
        lengths = [len(targets) for targets in queries.targets]
        row, items = np.repeat(np.arange(len(queries)), lengths), np.concatenate(queries.targets)
        of_targets = np.zeros(len(items), np.float32)
        first = 0
        for scores in self.scorer.blocks(queries, size):
            if not np.isfinite(scores).all():
                raise DivergedError("training diverged: scores are not finite; lower train.learning_rate")
            log_z = np.logaddexp(log_z, logsumexp(scores.astype(np.float64), axis=1))
            inside = (items >= first) & (items < first + scores.shape[1])
            of_targets[inside] = scores[row[inside], items[inside] - first]
            first += scores.shape[1]
            yield scores
        parts = np.split(of_targets, np.cumsum(lengths)[:-1])
        self.losses.extend(float(log - part.mean()) for log, part in zip(log_z, parts, strict=True))


def validate(scorer: ModelScorer, requests: Requests, settings: EvaluateConfig) -> Validation:
    """Measure a model on requests.

    Args:
      scorer: of the model and the requests.
      requests: with their held-out events.
      settings: section `evaluate`: depth of the lists, and how much is scored at a time.

    Raises:
      DivergedError: scores are not finite.
    """
    queries = with_targets(requests.queries)
    losses = _LossOfBlocks(scorer)
    ranking = rank(losses, queries, len(scorer.item_embeddings), settings, label="validation")
    accuracy = metrics.accuracy(ranking, queries)
    values = {"retrieval_loss": float(np.mean(losses.losses)) if losses.losses else np.nan}
    labels, calibration = _labels(scorer, requests, settings.batch)
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
