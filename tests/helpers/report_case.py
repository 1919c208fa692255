"""A report with everything in it, and one with nothing that may be left out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pipelines.reporting import markdown
from pipelines.reporting.report import Report
from pipelines.scoring.metrics import ACCURACY_METRICS

BEYOND = ("coverage@20", "diversity@20", "novelty@20", "popularity_bias@20")


def figures(level: float) -> dict[str, float]:
    """Metrics of a system: recall@20 is `level`, recall grows with k."""
    accuracy = {name: level * int(name.partition("@")[2] or 20) ** 0.5 / 20**0.5 for name in ACCURACY_METRICS}
    return accuracy | dict(zip(BEYOND, (0.41, 0.62, 9.71, 1.31), strict=True))


CURVE = [
    {
        "epoch": epoch,
        "retrieval_loss": 6.0 / epoch,
        "valid_retrieval_loss": 6.5 / epoch,
        "learning_rate": 0.001 / epoch,
        "valid_recall@20": 0.05 * epoch,
        "valid_like_auc": 0.6,
    }
    for epoch in range(1, 6)
]
REPORT = Report(
    dataset="demo",
    protocol="Split by time, the whole catalogue ranked, seen items excluded.",
    model=figures(0.30),
    baselines={
        "random": figures(0.01),
        "popularity": figures(0.10),
        "item_knn": figures(0.20),
        "item_knn_last20": figures(0.24),
    },
    slices={
        "cold_items": figures(0.15) | {"queries": 83.0},
        "warm_items": figures(0.31) | {"queries": 917.0},
        "cold_users": dict.fromkeys(ACCURACY_METRICS, math.nan) | {"queries": 0.0},
        "without_text": figures(0.22) | {"queries": 1000.0},
        "without_image": figures(0.25) | {"queries": 1000.0},
        "without_audio": figures(0.27) | {"queries": 1000.0},
    },
    ranking={
        "like": {
            "auc": 0.81,
            "logloss": 0.44,
            "ece": 0.02,
            "uncalibrated": {"auc": 0.81, "logloss": 0.5, "ece": 0.11},
            "baselines": {"popularity": {"auc": 0.61, "logloss": 0.66, "ece": 0.03}},
            "reliability": {
                name: {"count": [3, 0, 5], "predicted": [0.2, math.nan, 0.8], "observed": [0.1, math.nan, 0.9]}
                for name in ("uncalibrated", "calibrated")
            },
            "reranking": {
                "weight": 0.5,
                **{
                    f"test_{order}_ndcg@{k}": value + k / 1000
                    for order, value in (("retrieval", 0.2), ("blend", 0.25), ("label_alone", 0.1))
                    for k in (10, 20)
                },
            },
        },
        "rating": {"rmse": 0.93, "baselines": {"bias": {"rmse": 0.95}}},
    },
    exploration={
        "chosen": 0.5,
        "rows": [{"explore": 0.5 * step, "known": 0.3 - 0.01 * step**2, "new": 0.1 + 0.05 * step} for step in range(4)],
    },
    baseline_slices={"item_knn": {"cold_items": figures(0.0), "warm_items": figures(0.2)}},
    patterns=[
        {
            "content": content,
            "modalities": modalities,
            "queries": 1000,
            "recall@20": level,
            "ndcg@10": level / 2,
            "content_only_recall@20": level / 4,
            "content_only_ndcg@10": level / 8,
        }
        for content, modalities, level in (("everything", ["text", "image"], 0.3), ("text", ["text"], 0.15))
    ],
    exposure={"groups": ["tail", "head"], "systems": {"chosen": [0.3, 0.7], "model": [0.4, 0.6], "random": [0.5, 0.5]}},
    modality_weights=[
        {
            "by": "by popularity in training",
            "group": "all items",
            "items": 90,
            "weights": {"text": 0.75, "image": 0.25},
        },
        {"by": "by category", "group": "noir", "items": 9, "weights": {"text": 0.5, "image": 0.5}},
    ],
    hybrid=[
        {"parts": ["tower"], "loss": 5.2, "weights": {"tower": 1.0}, "recall@20": 0.28, "ndcg@10": 0.1},
        {
            "parts": ["tower", "borrowed", "new"],
            "loss": 5.0,
            "weights": {"tower": 0.75, "borrowed": 2.0, "new": -0.5},
            "recall@20": 0.3,
            "ndcg@10": 0.11,
        },
    ],
    oracle=figures(0.40),
    commands={"evaluate": "triptych evaluate --run runs/demo"},
    versions={"tensorflow": "2.17.1"},
    tradeoff=[
        {"diversity": 0.0, "recall@20": 0.3, "ndcg@10": 0.12, "diversity@20": 0.5, "coverage@20": 0.4},
        {"diversity": 0.5, "recall@20": 0.28, "ndcg@10": 0.11, "diversity@20": 0.62, "coverage@20": 0.47},
        {"diversity": 1.0, "recall@20": 0.15, "ndcg@10": math.nan, "diversity@20": 0.8, "coverage@20": 0.6},
    ],
    curve=CURVE,
)
PLAIN = dataclasses.replace(
    REPORT, oracle=None, slices={}, ranking={}, commands={}, versions={}, tradeoff=(), curve=(), baseline_slices={},
    patterns=(), exposure={}, modality_weights=(), exploration={},
)  # fmt: skip
PICTURES = (
    "accuracy", "beyond_accuracy", "exploration", "exposure", "missing_content", "modality_weights", "reliability", "slices",
    "tradeoff", "training", "warm_cold",
)  # fmt: skip


def text_of(report: Report, drawn: Sequence[str]) -> str:
    """The text of `report.md`, its pictures in plots/."""
    return markdown.report_markdown(report, drawn, "plots")


def lines_with(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]
