"""Exposure and modality weights of groups of items: by popularity and by category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Queries
from tfrecs.reading.reader import Catalogue, category_values
from tfrecs.schema import Schema

__all__ = ["exposure", "item_categories", "modality_weights_by_group", "popularity_groups"]

_GROUPS = 10


def popularity_groups(train_counts: np.ndarray) -> dict[str, np.ndarray]:
    """Group the items by training events: those without one, then tenths of the others, least popular first.

    Args:
      train_counts: int [N]. Items of equal count are in catalogue order.

    Returns:
      Name -> positions of the items; without empty groups.
    """
    order = np.argsort(train_counts, kind="stable")
    cold = int((train_counts == 0).sum())
    groups = {"not in training": order[:cold]} if cold else {}
    for number, part in enumerate(np.array_split(order[cold:], _GROUPS), start=1):
        if len(part):
            low, high = train_counts[part[0]], train_counts[part[-1]]
            groups[f"tenth {number}: {low:,} to {high:,} events"] = part
    return groups


def _group_shares(items: np.ndarray, groups: Mapping[str, np.ndarray], num_items: int) -> list[float]:
    """Return the share of each group among items [any length]; NaN without items."""
    counts = np.bincount(items, minlength=num_items)
    total = counts.sum()
    return [float(counts[part].sum() / total) if total else np.nan for part in groups.values()]


def exposure(
    rankings: Mapping[str, Ranking], queries: Queries, groups: Mapping[str, np.ndarray], k: int
) -> dict[str, list[float]]:
    """Return the share of the first k positions of all lists that each group gets.

    Args:
      rankings: system -> lists of the queries.
      queries: whose targets give the groups' shares under `chosen`.
      groups: name -> positions, as from `popularity_groups`.
      k: positions that count.

    Returns:
      `chosen` and each system -> a share for each group.
    """
    empty = np.zeros([0], np.int32)
    num_items = next(iter(rankings.values())).num_items if rankings else 0
    result = {"chosen": _group_shares(np.concatenate([empty, *queries.targets]), groups, num_items)}
    for name, ranking in rankings.items():
        recommended = ranking.items[:, :k]
        result[name] = _group_shares(recommended[recommended >= 0], groups, num_items)
    return result


def item_categories(schema: Schema, catalogue: Catalogue) -> list[set[str]]:
    """Return for each item the values of its features that are lists of strings.

    They are written as `name: value` where there are several such features.
    """
    by_feature = category_values(schema, catalogue)
    rows: list[set[str]] = [set() for _ in range(len(catalogue))]
    for name, items in by_feature.items():
        prefix = f"{name}: " if len(by_feature) > 1 else ""
        for row, values in zip(rows, items, strict=True):
            row.update(prefix + value for value in values)
    return rows


def modality_weights_by_group(
    weights: np.ndarray,
    modalities: Sequence[str],
    groups: Mapping[str, np.ndarray],
    categories: Sequence[set[str]],
    max_categories: int,
) -> list[dict[str, Any]]:
    """Average the modality weights of items that have any content, by popularity and by category.

    Args:
      weights: float [N, M], rows that sum to 1, or to 0 for an item without content.
      modalities: M names.
      groups: name -> positions, as from `popularity_groups`.
      categories: of each item.
      max_categories: at most so many categories, the most frequent ones.

    Returns:
      Rows with `by`, `group`, `items` (how many have content) and `weights`, modality -> mean; [] without modalities.
    """
    if not modalities:
        return []
    frequent = Counter(value for row in categories for value in sorted(row)).most_common(max_categories)
    by_category = {
        value: np.array([index for index, row in enumerate(categories) if value in row]) for value, _ in frequent
    }
    rows = []
    everything = {"all items": np.arange(len(weights))}
    for kind, parts in (("by popularity in training", {**everything, **groups}), ("by category", by_category)):
        for name, part in parts.items():
            with_content = weights[part][weights[part].sum(axis=1) > 0]
            if len(with_content):
                means = dict(zip(modalities, map(float, with_content.mean(axis=0)), strict=True))
                rows.append({"by": kind, "group": name, "items": len(with_content), "weights": means})
    return rows
