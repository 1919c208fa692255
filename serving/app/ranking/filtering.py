"""Which items a list may show, and why it would not show one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from serving.app.catalogue import AppCatalogue
from serving.app.language.masks import conditions_mask, filters_mask
from serving.app.language.query_parser import ParsedQuery
from serving.app.ranking.profile import disliked_items, seen_items
from serving.app.ranking.requests import ListRequest
from serving.app.ranking.rules import ResolvedRule, blocked_rows
from serving.app.store.base import Event


def allowed_items(
    catalogue: AppCatalogue,
    rules: Sequence[ResolvedRule],
    day: date,
    request: ListRequest,
    parsed: ParsedQuery,
    events: Sequence[Event],
) -> np.ndarray:
    """Return bool [N], true for items that may be in the list.

    Args:
      catalogue: N items.
      rules: those that block on this day apply.
      day: today.
      request: its filters and exclusions.
      parsed: its turns, whose conditions apply.
      events: of the user.

    Raises:
      InvalidRequestError: the catalogue has no such category or media feature.
    """
    allowed = filters_mask(catalogue, request.categories, request.media)
    allowed &= conditions_mask(catalogue, parsed.conditions)
    allowed &= ~blocked_rows(rules, day, len(catalogue))
    excluded = {*request.without, *disliked_items(events)}
    if request.hide_seen:
        excluded |= seen_items(events)
    allowed[[catalogue.position[item] for item in excluded if item in catalogue.position]] = False
    return allowed


def left_out(
    item: str,
    catalogue: AppCatalogue,
    rules: Sequence[ResolvedRule],
    day: date,
    request: ListRequest,
    parsed: ParsedQuery,
    events: Sequence[Event],
) -> list[str]:
    """Say what keeps an item of the catalogue from being allowed, one line each; the other arguments as above."""
    row = catalogue.position[item]
    lines = [
        f"rule {resolved.rule.name!r} blocks it"
        for resolved in rules
        if resolved.rule.action == "block" and resolved.rule.active_on(day) and resolved.rows[row]
    ]
    lines += [
        f"it does not fulfil the condition {condition.label!r}"
        for condition in parsed.conditions
        if not conditions_mask(catalogue, [condition])[row]
    ]
    if not filters_mask(catalogue, request.categories, ())[row]:
        lines.append("it is in none of the requested categories")
    if not filters_mask(catalogue, (), request.media)[row]:
        lines.append("it lacks a requested medium")
    if item in request.without:
        lines.append("the request leaves it out")
    if item in disliked_items(events):
        lines.append("the user disliked it")
    elif request.hide_seen and item in seen_items(events):
        lines.append("the user has events with it already, and the request hides such items")
    return lines
