"""The ranking head measured: beside its baselines, its calibration, and as a help to retrieval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from pipelines.config import EvaluateConfig
from pipelines.evaluation import rerank
from pipelines.evaluation.calibration import brier, expected_calibration_error, logit, platt, reliability
from pipelines.evaluation.label_baselines import choose_bias, popularity_line, predict_bias
from pipelines.evaluation.rerank import Retrieved
from pipelines.scoring import metrics
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Requests, Scorer, with_targets
from tfrecs.reading.reader import LabelledEvents
from tfrecs.schema import LabelSchema

_CLIP = 0.01  # a bias model is not sure of anything beyond this, before it is calibrated


@dataclass(frozen=True)
class Asked:
    """A split as the head sees it: its requests, and label -> logits float32 [E] of their held-out events."""

    requests: Requests
    logits: dict[str, np.ndarray]
    retrieved: Retrieved


def ask(scorer: ModelScorer, settings: EvaluateConfig) -> Asked:
    """Everything of the scorer's requests that is measured below: one pass over the user tower."""
    requests, count = scorer.requests, len(scorer.table)
    states = scorer.all_states(settings.batch)
    queries = with_targets(requests.queries)
    items = np.full([len(queries), settings.depth], -1, np.int32)
    scores = np.zeros(items.shape, np.float32)
    for start in range(0, len(queries), settings.batch):
        some = queries.slice(start, start + settings.batch)
        part = slice(start, start + len(some))
        catalogue = scorer(some)
        ranking = metrics.rank(_known(catalogue), some, num_items=count, depth=settings.depth, batch=len(some))
        items[part] = ranking.items
        scores[part] = np.take_along_axis(catalogue, np.maximum(ranking.items, 0), axis=1)
    retrieved = Retrieved(
        queries,
        Ranking(items, count),
        scores,
        scorer.logits(states[queries.rows], np.maximum(items, 0), settings.batch),
    )
    return Asked(requests, scorer.pair_logits(states, settings.batch), retrieved)


def _known(scores: np.ndarray) -> Scorer:
    return lambda queries: scores


def measure(
    scorer: ModelScorer,
    validation: Asked,
    test: Asked,
    training: LabelledEvents,
    train_counts: np.ndarray,
    settings: EvaluateConfig,
) -> dict[str, dict[str, Any]]:
    """Label -> metrics on the test split.

    Args:
      scorer: of the test split's requests.
      training: every training event with its labels.
      train_counts: int [N], positive training events of each item: its popularity.

    Returns:
      Of a binary label `auc logloss brier ece` of the calibrated head, `uncalibrated` (the same of the logits as they
      are), `baselines` (`popularity`, `bias`; each Platt-scaled on the validation split as the head is) and
      `reliability`: before and after. Of a regression label `rmse` and `baselines`. Of each, `reranking`.
    """
    popularity = np.log1p(train_counts.astype(np.float64))
    result = {}
    head = scorer.model.ranking_head
    assert head is not None
    for column, label in enumerate(scorer.model.schema.labels):
        bounds = label.range if label.range is not None else (0.0, 1.0)
        labels = training.labels[:, column]
        bias = choose_bias(
            training.items, labels, len(train_counts), validation.requests, column, bounds, settings.shrinkages
        )
        biases = [predict_bias(bias, split.requests, column, *bounds) for split in (validation, test)]
        truths = [split.requests.pair_labels[:, column] for split in (validation, test)]
        shown = [popularity[split.requests.pair_items] for split in (validation, test)]
        if label.task == "binary":
            slope, offset = float(head.slope[column]), float(head.offset[column])
            result[label.name] = _binary(
                label, truths, test, (slope, offset),
                {"popularity": shown, "bias": [logit(values, _CLIP) for values in biases]}, settings.bins,
            )  # fmt: skip
        else:
            slope, offset = popularity_line(popularity, training.items, labels)
            low, high = bounds
            said = low + expit(test.logits[label.name].astype(np.float64)) * (high - low)
            result[label.name] = {
                "rmse": metrics.rmse(truths[1], said),
                "baselines": {
                    "popularity": {"rmse": metrics.rmse(truths[1], np.clip(slope * shown[1] + offset, low, high))},
                    "bias": {"rmse": metrics.rmse(truths[1], biases[1])},
                },
            }
        result[label.name]["reranking"] = _reranking(label.name, validation.retrieved, test.retrieved, settings)
    return result


def probability_metrics(truth: np.ndarray, said: np.ndarray, bins: int) -> dict[str, float]:
    """`auc logloss brier ece` of probabilities [E]; labels 0, 1 or NaN (ignored)."""
    return {
        "auc": metrics.auc(truth, said),
        "logloss": metrics.logloss(truth, said),
        "brier": brier(truth, said),
        "ece": expected_calibration_error(truth, said, bins),
    }


def _binary(
    label: LabelSchema,
    truths: list[np.ndarray],
    test: Asked,
    calibration: tuple[float, float],
    baselines: dict[str, list[np.ndarray]],
    bins: int,
) -> dict[str, Any]:
    raw = test.logits[label.name].astype(np.float64)
    said = {"uncalibrated": expit(raw), "calibrated": expit(calibration[0] * raw + calibration[1])}
    measured: dict[str, Any] = probability_metrics(truths[1], said["calibrated"], bins)
    measured["uncalibrated"] = probability_metrics(truths[1], said["uncalibrated"], bins)
    measured["calibration"] = {"slope": calibration[0], "offset": calibration[1]}
    measured["baselines"] = {}
    for name, (valid_logits, test_logits) in baselines.items():
        slope, offset = platt(truths[0], valid_logits)
        probabilities = expit(slope * test_logits + offset)
        measured["baselines"][name] = probability_metrics(truths[1], probabilities, bins)
    measured["reliability"] = {}
    for name, values in said.items():
        found = reliability(truths[1], values, bins)
        measured["reliability"][name] = {
            "count": found.count.tolist(), "predicted": found.predicted.tolist(), "observed": found.observed.tolist()
        }  # fmt: skip
    return measured


def _reranking(label: str, validation: Retrieved, test: Retrieved, settings: EvaluateConfig) -> dict[str, float]:
    """NDCG of retrieval, of the blend whose weight validation chose, and of the label alone within the same lists."""
    weight = rerank.choose_weight(validation, label, settings.rerank_weights)
    result = {"weight": weight}
    for split, retrieved in (("valid", validation), ("test", test)):
        orders: dict[str, Ranking] = {
            "retrieval": retrieved.ranking,
            "blend": rerank.reordered(retrieved.ranking, retrieved.scores + weight * retrieved.logits[label]),
            "label_alone": rerank.reordered(retrieved.ranking, retrieved.logits[label]),
        }
        for name, ranking in orders.items():
            for metric in ("ndcg@10", "ndcg@20"):
                values = metrics.per_query(ranking, retrieved.queries, metric)
                result[f"{split}_{name}_{metric}"] = float(values.mean()) if len(values) else float("nan")
    return result
