"""Boolean masks over the catalogue: conditions of a query, and filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from serving.app.catalogue import AppCatalogue
from serving.app.language.conditions import Condition
from serving.wire.errors import InvalidRequestError


def resolve_relative(condition: Condition, values: np.ndarray, previous: Sequence[int]) -> Condition:
    """Set the value of a relative condition ("older") to the median of the previous list.

    Args:
      condition: a relative condition on a number.
      values: float [N], the number of each item, NaN if it has none.
      previous: rows of the previous list; if none of them has the number, the median of the catalogue is used.
    """
    known = values[list(previous)]
    known = known[~np.isnan(known)]
    pivot = float(np.median(known)) if len(known) else float(np.nanmedian(values))
    return replace(condition, value=pivot)


def conditions_mask(catalogue: AppCatalogue, conditions: Sequence[Condition]) -> np.ndarray:
    """Return bool [N], true for items that fulfil all conditions."""
    allowed = np.ones(len(catalogue), bool)
    for condition in conditions:
        if condition.kind == "number":
            allowed &= _number_mask(condition, catalogue.numbers[condition.names[0]])
        elif condition.kind == "not_word":
            allowed[catalogue.rows_by_word[condition.names[0]]] = False
        else:
            in_any = np.zeros(len(catalogue), bool)
            for name in condition.names:
                in_any[catalogue.categories[name]] = True
            allowed &= in_any if condition.kind == "category" else ~in_any
    return allowed


def filters_mask(catalogue: AppCatalogue, categories: Sequence[str], media: Sequence[str]) -> np.ndarray:
    """Return bool [N], true for items in any of the categories that have all of the media.

    Args:
      catalogue: N items.
      categories: names; none allows all items.
      media: names of media features.

    Raises:
      InvalidRequestError: the catalogue has no such category or media feature.
    """
    allowed = np.ones(len(catalogue), bool)
    for parameter, names, known in (("category", categories, catalogue.categories), ("media", media, catalogue.media)):
        for name in names:
            if name not in known:
                raise InvalidRequestError(
                    f"{parameter}: the catalogue has no {name!r}; its description lists what it has"
                )
    if categories:
        allowed[:] = False
        allowed[np.concatenate([catalogue.categories[name] for name in categories])] = True
    for name in media:
        allowed &= catalogue.has_media[name]
    return allowed


def _number_mask(condition: Condition, values: np.ndarray) -> np.ndarray:
    """Items without the number (NaN) never fulfil the condition."""
    value = np.nan if condition.value is None else condition.value
    with np.errstate(invalid="ignore"):
        if condition.op == "range":
            return (values >= value) & (values < (np.inf if condition.high is None else condition.high))
        compare: dict[str, Any] = {
            "<": np.less,
            "<=": np.less_equal,
            ">": np.greater,
            ">=": np.greater_equal,
            "=": np.equal,
        }
        return compare[condition.op](values, value)
