"""EASE: the linear item-to-item model with a closed form. Steck, "Embarrassingly shallow autoencoders", WWW 2019."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.quality.peers.base import Ask, Training, linear
from pipelines.item_item.content_similarity import content_similarity
from pipelines.item_item.ease import EaseSettings, ease_weights


def fit(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """`params`: regularization; asked with last (events of the history that count; None: all)."""
    return linear(ease_weights(training.matrix, EaseSettings(params["regularization"])))


def with_content(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """`params`: regularization, content (common users that two items are worth which are alike). Jeunen et al.,
    "Closed-form models for collaborative filtering with side-information", RecSys 2020; a part of ours."""
    ease = EaseSettings(params["regularization"], params["content"])
    return linear(ease_weights(training.matrix, ease, content_similarity(training.content)))
