"""EASE, the linear item-item model with a closed form (Steck, "Embarrassingly shallow autoencoders", WWW 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.quality.peers.interface import ScorerFactory, TrainingData, item_item_factory
from pipelines.item_item.content_similarity import content_similarity
from pipelines.item_item.ease import EaseSettings, ease_weights


def fit(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit EASE. Parameters: regularization. Scoring options: last."""
    return item_item_factory(ease_weights(training.matrix, EaseSettings(params["regularization"])))


def with_content(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit EASE with item content as additional users (Jeunen et al., "Closed-form models for collaborative filtering with
    side-information", RecSys 2020).

    Parameters: regularization, content (weight of the content similarity). Scoring options: last.
    """
    settings = EaseSettings(params["regularization"], params["content"])
    return item_item_factory(ease_weights(training.matrix, settings, content_similarity(training.content)))
