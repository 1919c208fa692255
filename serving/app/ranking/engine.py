"""From a request to a list: history and taste, words, the model's candidates, their order, reasons and rules."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timezone

import numpy as np

from serving.app.catalogue import Catalogue
from serving.app.language.conditions import conditions_mask, filters_mask, with_pivot
from serving.app.language.words import Understanding, understand
from serving.app.models import (
    AppliedRule,
    Chip,
    ListOut,
    ModelOut,
    Picked,
    PickerOut,
    SimilarOut,
    Understood,
)
from serving.app.ranking import order, picker, profile, rules
from serving.app.ranking.asks import Ask, Asked, Found, Settings
from serving.app.ranking.candidates import candidates, searched
from serving.app.ranking.explain import Facts, listed
from serving.app.ranking.reasons import similar as similar_reason
from serving.app.ranking.rules import Applicable
from serving.app.store.events import Event
from serving.wire.errors import InvalidRequestError, NotFoundError


class Engine:
    """Answers from one catalogue through one client; keeps nothing between two requests.

    Args:
      client: where the model is.
      catalogue: of the version that is served there.
      house: the rules of the house, resolved against the catalogue.
      settings: numbers.
    """

    def __init__(self, client: Asked, catalogue: Catalogue, house: Sequence[Applicable], settings: Settings) -> None:
        self.client, self.catalogue, self.house, self.settings = client, catalogue, tuple(house), settings

    async def listing(self, ask: Ask, events: Sequence[Event]) -> ListOut:
        """The list for a user with these events.

        Raises:
          InvalidRequestError: a category, medium, item or context that there is not.
          ServingError: the model server does not answer.
        """
        started, today = time.perf_counter(), datetime.now(timezone.utc).date()
        catalogue, settings = self.catalogue, self.settings
        understanding = await self._understood(ask, events)
        allowed = self._allowed(ask, events, understanding, today)
        verdict_words = self._rating_words(events) if ask.rating_words else ""
        query = " ".join(part for part in (understanding.text, verdict_words) if part)
        history = profile.short_term(events, settings.scale, settings.short_term)
        taste, _ = profile.taste(events, settings.scale, settings.taste_rate, catalogue.position, catalogue.vectors)
        unwanted = catalogue.vectors[self._rows(profile.less_of(events))]
        reordered = ask.diversity > 0 or taste is not None or len(unwanted) or any(r.rule.weight for r in self.house)
        want = ask.k * settings.pool if reordered else ask.k
        if ask.search and query:
            found = await searched(self.client, catalogue, settings, query, allowed, want)
        else:
            found = await candidates(
                self.client, catalogue, settings, history, query, allowed, want, await self._context(ask.context)
            )
        vectors = catalogue.vectors[found.rows]
        scores = order.adjusted(found.scores, vectors, taste, settings.taste_weight, unwanted, settings.unwanted_weight)
        scores = rules.shifted(self.house, today, found.rows, scores)
        chosen = order.diverse(scores, vectors, ask.diversity, ask.k) if len(scores) else np.zeros(0, np.int64)
        final = rules.pinned(self.house, today, found.rows[chosen].tolist(), allowed, catalogue.position, ask.k)
        facts = Facts(catalogue, settings, events, taste, understanding.text, bool(history.ids), self.house, today)
        items = [listed(facts, found, scores, row) for row in final]
        metadata = await self.client.metadata()
        return ListOut(
            list_id=secrets.token_hex(16),
            model=ModelOut(name=catalogue.name, version=metadata.version),
            understood=_said_back(understanding),
            rating_words=verdict_words,
            based_on=_based_on(ask, bool(history.ids), taste is not None, understanding.text, verdict_words),
            items=items,
            applied_rules=self._applied(final, today),
            took_ms=round(1000 * (time.perf_counter() - started), 2),
        )

    async def similar(self, item: str, k: int) -> SimilarOut:
        """Items like an item. Raises NotFoundError, ServingError."""
        catalogue, today = self.catalogue, datetime.now(timezone.utc).date()
        if item not in catalogue.position:
            raise NotFoundError(f"no item {item!r} in the catalogue")
        blocked = rules.blocked(self.house, today, len(catalogue))
        there = await self.client.similar(item, k=min(len(catalogue), k + int(blocked.sum())))
        rows = [catalogue.position[one.id] for one in there if one.id in catalogue.position]
        rows = [row for row in rows if not blocked[row]][:k]
        place = catalogue.position[item]
        cosines = {row: catalogue.cosine(place, row) for row in rows}
        found = Found(
            np.array(rows, np.int64), np.array([cosines[row] for row in rows]), [{}] * len(rows), [""] * len(rows)
        )
        facts = Facts(catalogue, self.settings, (), None, "", True, self.house, today)
        items = []
        for row in rows:
            one = listed(facts, found, found.scores, row)
            reasons = [similar_reason(catalogue.title(item), cosines[row]), *one.reasons]
            items.append(one.model_copy(update={"reasons": reasons}))
        metadata = await self.client.metadata()
        return SimilarOut(
            item=catalogue.cards([item])[0],
            items=items,
            model=ModelOut(name=catalogue.name, version=metadata.version),
        )

    def picker(self, events: Sequence[Event], k: int) -> PickerOut:
        """Items to ask a newcomer about."""
        catalogue, settings = self.catalogue, self.settings
        counts = catalogue.facts.counts.astype(np.float64)
        blocked = rules.blocked(self.house, datetime.now(timezone.utc).date(), len(catalogue))
        picked = picker.pick(
            catalogue.vectors,
            np.where(blocked, 0.0, counts),
            self._rows(profile.seen(events)),
            k,
            candidates=settings.picker_candidates,
            demand=settings.picker_demand,
        )
        why = "Chosen so that your answers say most about everything else: known to many, and far from each other."
        return PickerOut(
            items=[Picked(**catalogue.card(catalogue.ids[row]), information=gain) for row, gain in picked], why=why
        )

    def _rows(self, items: set[str]) -> list[int]:
        return sorted(self.catalogue.position[item] for item in items if item in self.catalogue.position)

    def _rating_words(self, events: Sequence[Event]) -> str:
        catalogue = self.catalogue
        names = {
            event.item: catalogue.facts.categories[catalogue.position[event.item]]
            for event in events
            if event.item in catalogue.position
        }
        return profile.rating_words(events, self.settings.scale, names, catalogue.shares, self.settings.rating_words)

    async def _understood(self, ask: Ask, events: Sequence[Event]) -> Understanding:
        """With the numbers of the list before in the conditions that are relative to one."""
        understanding = understand(ask.turns, self.catalogue.vocabulary, ask.dropped)
        conditions = []
        for condition in understanding.conditions:
            if condition.relative:
                before: list[int] = []
                if condition.turn or not ask.search:
                    earlier = await self.listing(replace(ask, turns=ask.turns[: condition.turn]), events)
                    before = [self.catalogue.position[item.id] for item in earlier.items]
                condition = with_pivot(condition, self.catalogue.numbers[condition.names[0]], before)
            conditions.append(condition)
        return replace(understanding, conditions=tuple(conditions))

    def _allowed(self, ask: Ask, events: Sequence[Event], understanding: Understanding, today: date) -> np.ndarray:
        """bool [N]: rows that may be in the list."""
        catalogue = self.catalogue
        allowed = filters_mask(catalogue, ask.categories, ask.media) & conditions_mask(
            catalogue, understanding.conditions
        )
        allowed &= ~rules.blocked(self.house, today, len(catalogue))
        unwelcome = {*ask.without, *profile.disliked(events), *(profile.seen(events) if ask.hide_seen else ())}
        allowed[self._rows(unwelcome)] = False
        return allowed

    async def _context(self, given: Mapping[str, str]) -> dict[str, str | float]:
        """As the model's own inputs have it. Raises InvalidRequestError where it has no such input."""
        result: dict[str, str | float] = {}
        inputs = (await self.client.metadata()).signatures["recommend"].inputs if given else {}
        for name, value in given.items():
            if name not in inputs:
                raise InvalidRequestError(f"context.{name}: the model has no such context")
            try:
                result[name] = value if inputs[name].dtype == "string" else float(value)
            except ValueError as error:
                raise InvalidRequestError(f"context.{name}: {value!r} is no number") from error
        return result

    def _applied(self, final: Sequence[int], today: date) -> list[AppliedRule]:
        result = []
        for one in self.house:
            if one.rule.holds_on(today):
                touched = int(one.rows.sum()) if one.rule.action == "block" else int(one.rows[list(final)].sum())
                if touched:
                    result.append(AppliedRule(name=one.rule.name, action=one.rule.action, items=touched))
        return result


def _said_back(understanding: Understanding) -> Understood:
    chips = [
        Chip(key=one.key, label=one.label, kind=one.kind, turn=one.turn)  # type: ignore[arg-type]  # its four kinds
        for one in understanding.conditions
    ]
    return Understood(query=understanding.text, chips=chips)


def _based_on(ask: Ask, history: bool, taste: bool, text: str, verdict_words: str) -> list[str]:
    if ask.search and text:
        return ["words"]
    there = {"history": history, "taste": taste, "words": bool(text), "rating_words": bool(verdict_words)}
    return [name for name, is_there in there.items() if is_there] or ["popularity"]
