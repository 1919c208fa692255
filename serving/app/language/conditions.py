"""Which items a list may hold: conditions found in words, and filters. Pure, over bool [N]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from serving.app.catalogue import Catalogue
from serving.app.language.said import Condition
from serving.wire.errors import InvalidRequestError


def with_pivot(condition: Condition, values: np.ndarray, before: Sequence[int]) -> Condition:
    """A relative condition ("older") with the median of the list before; of the catalogue where that has no numbers.

    Args:
      values: float [N], the number of each item, NaN = none.
      before: rows of the list before.
    """
    said = values[list(before)]
    said = said[~np.isnan(said)]
    pivot = float(np.median(said)) if len(said) else float(np.nanmedian(values))
    return replace(condition, value=pivot)


def conditions_mask(catalogue: Catalogue, conditions: Sequence[Condition]) -> np.ndarray:
    """bool [N]: rows that all conditions hold for."""
    allowed = np.ones(len(catalogue), bool)
    for one in conditions:
        if one.kind == "number":
            allowed &= _number(one, catalogue.numbers[one.names[0]])
        elif one.kind == "not_word":
            allowed[catalogue.items_with[one.names[0]]] = False
        else:
            inside = np.zeros(len(catalogue), bool)
            for name in one.names:
                inside[catalogue.categories[name]] = True
            allowed &= inside if one.kind == "category" else ~inside
    return allowed


def filters_mask(catalogue: Catalogue, categories: Sequence[str], media: Sequence[str]) -> np.ndarray:
    """bool [N]: rows in any of these categories (none: all) with all of these media.

    Raises:
      InvalidRequestError: the catalogue has no such category or medium.
    """
    allowed = np.ones(len(catalogue), bool)
    for what, names, there in (("category", categories, catalogue.categories), ("media", media, catalogue.media)):
        for name in names:
            if name not in there:
                raise InvalidRequestError(f"{what}: the catalogue has no {name!r}; /about lists what it has")
    if categories:
        allowed[:] = False
        allowed[np.concatenate([catalogue.categories[name] for name in categories])] = True
    for name in media:
        allowed = allowed & catalogue.with_media[name]
    return allowed


def _number(condition: Condition, values: np.ndarray) -> np.ndarray:
    """Items without the number do not pass: nothing is known of them."""
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
