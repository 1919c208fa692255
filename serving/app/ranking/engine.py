"""Ranking engine: parse the query, retrieve candidates, rerank, apply rules, and explain the list."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timezone

import numpy as np

from serving.app.catalogue import AppCatalogue
from serving.app.language.masks import conditions_mask, filters_mask, resolve_relative
from serving.app.language.query_parser import ParsedQuery, parse_query
from serving.app.ranking import profile, rules
from serving.app.ranking.candidates import Candidates, retrieve_candidates, search_candidates
from serving.app.ranking.reasons import ReasonContext, list_item, similarity_reason
from serving.app.ranking.requests import ListRequest, RankingSettings, RecommendClient
from serving.app.ranking.reranking import adjust_scores, maximal_marginal_relevance
from serving.app.ranking.rules import ResolvedRule
from serving.app.ranking.taste_picker import pick_items
from serving.app.schemas import (
    AppliedRule,
    Chip,
    ListOut,
    ModelOut,
    PickerItem,
    PickerOut,
    SimilarOut,
    Understood,
)
from serving.app.store.base import Event
from serving.wire.errors import InvalidRequestError, NotFoundError


class Engine:
    """Ranks the items of one catalogue with one model. Stateless between requests.

    Args:
      client: calls the model.
      catalogue: the items of the served version.
      rules: business rules, resolved against the catalogue.
      settings: weights and limits.
    """

    def __init__(
        self,
        client: RecommendClient,
        catalogue: AppCatalogue,
        rules: Sequence[ResolvedRule],
        settings: RankingSettings,
    ) -> None:
        self.client, self.catalogue, self.rules, self.settings = client, catalogue, tuple(rules), settings

    async def recommend(self, request: ListRequest, events: Sequence[Event]) -> ListOut:
        """Rank items for a user with these events, oldest first.

        Raises:
          InvalidRequestError: the request names an unknown category, media feature or context input.
          ServingError: the model server does not answer.
        """
        started, today = time.perf_counter(), _today()
        catalogue, settings = self.catalogue, self.settings
        parsed = await self._parse(request, events)
        allowed = self._allowed(request, events, parsed, today)
        rating_words = self._rating_words(events) if request.rating_words else ""
        query = " ".join(part for part in (parsed.text, rating_words) if part)
        history = profile.recent_history(events, settings.scale, settings.short_term)
        taste, _ = profile.long_term_taste(
            events, settings.scale, settings.taste_rate, catalogue.position, catalogue.embeddings
        )
        unwanted = catalogue.embeddings[self._rows(profile.unwanted_kinds(events))]
        has_weights = any(resolved.rule.weight for resolved in self.rules)
        reranked = request.diversity > 0 or taste is not None or len(unwanted) or has_weights
        count = request.k * settings.pool if reranked else request.k
        if request.search and query:
            candidates = await search_candidates(self.client, catalogue, settings, query, allowed, count)
        else:
            context = await self._context(request.context or {})
            candidates = await retrieve_candidates(
                self.client, catalogue, settings, history, query, allowed, count, context
            )
        embeddings = catalogue.embeddings[candidates.rows]
        scores = adjust_scores(
            candidates.scores, embeddings, taste, settings.taste_weight, unwanted, settings.unwanted_weight
        )
        scores = rules.apply_weights(self.rules, today, candidates.rows, scores)
        selected = maximal_marginal_relevance(scores, embeddings, request.diversity, request.k)
        order = candidates.rows[selected].tolist()
        rows = rules.apply_pins(self.rules, today, order, allowed, catalogue.position, request.k)
        reasons = ReasonContext(catalogue, settings, events, taste, parsed.text, bool(history.ids), self.rules, today)
        return ListOut(
            list_id=secrets.token_hex(16),
            model=await self._model(),
            understood=_understood(parsed),
            rating_words=rating_words,
            based_on=_based_on(
                request, bool(history.ids), taste is not None, parsed.text if catalogue.takes_text else "", rating_words
            ),
            items=[list_item(reasons, candidates, scores, row) for row in rows],
            applied_rules=self._applied_rules(rows, today),
            took_ms=round(1000 * (time.perf_counter() - started), 2),
        )

    async def similar(self, item: str, k: int) -> SimilarOut:
        """Return the k items most similar to an item.

        Raises:
          NotFoundError: the catalogue has no such item.
          ServingError: the model server does not answer.
        """
        catalogue, today = self.catalogue, _today()
        if item not in catalogue.position:
            raise NotFoundError(f"no item {item!r} in the catalogue")
        blocked = rules.blocked_rows(self.rules, today, len(catalogue))
        results = await self.client.similar(item, k=min(len(catalogue), k + int(blocked.sum())))
        rows = [catalogue.position[result.id] for result in results if result.id in catalogue.position]
        rows = [row for row in rows if not blocked[row]][:k]
        cosines = np.array([catalogue.cosine(catalogue.position[item], row) for row in rows])
        candidates = Candidates(np.array(rows, np.int64), cosines, [{}] * len(rows), [""] * len(rows))
        context = ReasonContext(catalogue, self.settings, (), None, "", True, self.rules, today)
        items = []
        for row, cosine in zip(rows, cosines.tolist(), strict=True):
            described = list_item(context, candidates, cosines, row)
            reasons = [similarity_reason(catalogue.title(item), cosine), *described.reasons]
            items.append(described.model_copy(update={"reasons": reasons}))
        return SimilarOut(item=catalogue.cards([item])[0], items=items, model=await self._model())

    def pick(self, events: Sequence[Event], k: int) -> PickerOut:
        """Return k items that a new user is asked about."""
        catalogue, settings = self.catalogue, self.settings
        blocked = rules.blocked_rows(self.rules, _today(), len(catalogue))
        picked = pick_items(
            catalogue.embeddings,
            np.where(blocked, 0.0, catalogue.facts.counts.astype(np.float64)),
            self._rows(profile.seen_items(events)),
            k,
            candidates=settings.picker_candidates,
            demand=settings.picker_demand,
        )
        return PickerOut(
            items=[PickerItem(**catalogue.card(catalogue.ids[row]), information=gain) for row, gain in picked],
            why="Chosen so that your answers say most about everything else: known to many, and far from each other.",
        )

    async def _model(self) -> ModelOut:
        metadata = await self.client.metadata()
        return ModelOut(name=self.catalogue.name, version=metadata.version)

    def _rows(self, items: set[str]) -> list[int]:
        return sorted(self.catalogue.position[item] for item in items if item in self.catalogue.position)

    def _rating_words(self, events: Sequence[Event]) -> str:
        catalogue, settings = self.catalogue, self.settings
        categories = catalogue.categories_of(event.item for event in events)
        return profile.rating_words(
            events, settings.scale, categories, catalogue.category_frequency, settings.rating_words
        )

    async def _parse(self, request: ListRequest, events: Sequence[Event]) -> ParsedQuery:
        """Parse the turns; relative conditions get their value from the list of the turns before them."""
        parsed = parse_query(request.turns, self.catalogue.vocabulary, request.dropped)
        conditions = []
        for condition in parsed.conditions:
            if condition.relative:
                previous: list[int] = []
                if condition.turn or not request.search:
                    earlier = await self.recommend(replace(request, turns=request.turns[: condition.turn]), events)
                    previous = [self.catalogue.position[item.id] for item in earlier.items]
                condition = resolve_relative(condition, self.catalogue.numbers[condition.names[0]], previous)
            conditions.append(condition)
        return replace(parsed, conditions=tuple(conditions))

    def _allowed(self, request: ListRequest, events: Sequence[Event], parsed: ParsedQuery, today: date) -> np.ndarray:
        """Return bool [N], true for items that may be in the list."""
        catalogue = self.catalogue
        allowed = filters_mask(catalogue, request.categories, request.media)
        allowed &= conditions_mask(catalogue, parsed.conditions)
        allowed &= ~rules.blocked_rows(self.rules, today, len(catalogue))
        excluded = {*request.without, *profile.disliked_items(events)}
        if request.hide_seen:
            excluded |= profile.seen_items(events)
        allowed[self._rows(excluded)] = False
        return allowed

    async def _context(self, given: Mapping[str, str]) -> dict[str, str | float]:
        """Convert context values to the types of the model's inputs. Raises InvalidRequestError."""
        context: dict[str, str | float] = {}
        inputs = (await self.client.metadata()).signatures["recommend"].inputs if given else {}
        for name, value in given.items():
            if name not in inputs:
                raise InvalidRequestError(f"context.{name}: the model has no such context")
            try:
                context[name] = value if inputs[name].dtype == "string" else float(value)
            except ValueError as error:
                raise InvalidRequestError(f"context.{name}: {value!r} is no number") from error
        return context

    def _applied_rules(self, rows: Sequence[int], today: date) -> list[AppliedRule]:
        applied = []
        for resolved in self.rules:
            if resolved.rule.active_on(today):
                affected = resolved.rows if resolved.rule.action == "block" else resolved.rows[list(rows)]
                if count := int(affected.sum()):
                    applied.append(AppliedRule(name=resolved.rule.name, action=resolved.rule.action, items=count))
        return applied


def _today() -> date:
    return datetime.now(timezone.utc).date()


def _understood(parsed: ParsedQuery) -> Understood:
    chips = [
        Chip(key=condition.key, label=condition.label, kind=condition.kind, turn=condition.turn)  # type: ignore[arg-type]
        for condition in parsed.conditions
    ]
    return Understood(query=parsed.text, chips=chips)


def _based_on(request: ListRequest, history: bool, taste: bool, text: str, rating_words: str) -> list[str]:
    if request.search and text:
        return ["words"]
    sources = {"history": history, "taste": taste, "words": bool(text), "rating_words": bool(rating_words)}
    return [name for name, used in sources.items() if used] or ["popularity"]
