"""Ranking engine: parse the query, retrieve candidates, rerank, apply rules, and explain the list."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone

import numpy as np

from serving.app.catalogue import AppCatalogue
from serving.app.language.masks import resolve_relative
from serving.app.language.query_parser import ParsedQuery, parse_query
from serving.app.ranking import profile, rules
from serving.app.ranking.candidates import Candidates, rank_items, retrieve_candidates, search_candidates
from serving.app.ranking.filtering import allowed_items, left_out
from serving.app.ranking.reasons import ReasonContext, list_item, similarity_reason
from serving.app.ranking.requests import ListRequest, RankingSettings, RecommendClient
from serving.app.ranking.reranking import adjust_scores, maximal_marginal_relevance
from serving.app.ranking.rules import ResolvedRule
from serving.app.ranking.taste_picker import pick_items
from serving.app.schemas import (
    AppliedRule,
    Chip,
    ExplainOut,
    ListOut,
    ModelOut,
    PickerItem,
    PickerOut,
    SimilarOut,
    Understood,
)
from serving.app.store.base import Event
from serving.wire.errors import InvalidRequestError, NotFoundError


@dataclass(frozen=True)
class _Asked:
    """What a request comes to for a user.

    Attributes:
      events: of the user, oldest first.
      today: whose rules apply.
      parsed: the turns.
      allowed: bool [N], items that may be in the list.
      rating_words, query: the words of the user's ratings, and these behind the text of the turns.
      history: what the model gets.
      taste: float [D], None if there is none.
      unwanted: float [n, D], embeddings of the items whose kind is unwanted.
    """

    events: Sequence[Event]
    today: date
    parsed: ParsedQuery
    allowed: np.ndarray
    rating_words: str
    query: str
    history: profile.ProfileHistory
    taste: np.ndarray | None
    unwanted: np.ndarray


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
        started, catalogue, settings = time.perf_counter(), self.catalogue, self.settings
        asked = await self._read(request, events)
        has_weights = any(resolved.rule.weight for resolved in self.rules)
        reranked = request.diversity > 0 or asked.taste is not None or len(asked.unwanted) or has_weights
        count = request.k * settings.pool if reranked else request.k
        if request.search and asked.query:
            candidates = await search_candidates(self.client, catalogue, settings, asked.query, asked.allowed, count)
        else:
            context = await self._context(request.context or {})
            candidates = await retrieve_candidates(
                self.client, catalogue, settings, asked.history, asked.query, asked.allowed, count, context
            )
        scores = self._rescore(asked, candidates)
        embeddings = catalogue.embeddings[candidates.rows]
        selected = maximal_marginal_relevance(scores, embeddings, request.diversity, request.k)
        order = candidates.rows[selected].tolist()
        rows = rules.apply_pins(self.rules, asked.today, order, asked.allowed, catalogue.position, request.k)
        reasons = self._reason_context(asked)
        return ListOut(
            list_id=secrets.token_hex(16),
            model=await self._model(),
            understood=_understood(asked.parsed),
            rating_words=asked.rating_words,
            based_on=self._based_on(request, asked),
            items=[list_item(reasons, candidates, scores, row) for row in rows],
            applied_rules=self._applied_rules(rows, asked.today),
            took_ms=round(1000 * (time.perf_counter() - started), 2),
        )

    async def explain(self, item: str, request: ListRequest, events: Sequence[Event]) -> ExplainOut:
        """Return score and reasons of one item for a user, and what keeps it out of the list of the same request.

        Raises:
          NotFoundError: the catalogue has no such item.
          InvalidRequestError: as in `recommend`.
          ServingError: the model server does not answer.
        """
        catalogue = self.catalogue
        row = self._row(item)
        asked = await self._read(request, events)
        context = await self._context(request.context or {})
        candidates = await rank_items(self.client, catalogue, asked.history, asked.query, [item], context)
        scores = self._rescore(asked, candidates)
        return ExplainOut(
            item=list_item(self._reason_context(asked), candidates, scores, row),
            left_out=left_out(item, catalogue, self.rules, asked.today, request, asked.parsed, events),
            model=await self._model(),
            understood=_understood(asked.parsed),
            based_on=self._based_on(request, asked),
        )

    async def similar(self, item: str, k: int) -> SimilarOut:
        """Return the k items most similar to an item.

        Raises:
          NotFoundError: the catalogue has no such item.
          ServingError: the model server does not answer.
        """
        catalogue, today = self.catalogue, _today()
        requested = self._row(item)
        blocked = rules.blocked_rows(self.rules, today, len(catalogue))
        results = await self.client.similar(item, k=min(len(catalogue), k + int(blocked.sum())))
        rows = [catalogue.position[result.id] for result in results if result.id in catalogue.position]
        rows = [row for row in rows if not blocked[row]][:k]
        cosines = np.array([catalogue.cosine(requested, row) for row in rows])
        candidates = Candidates(np.array(rows, np.int64), cosines, [{}] * len(rows), [""] * len(rows))
        context = ReasonContext(catalogue, self.settings, (), None, "", True, self.rules, today)
        items = []
        for row, cosine in zip(rows, cosines.tolist(), strict=True):
            described = list_item(context, candidates, cosines, row)
            reasons = [similarity_reason(item, catalogue.title(item), cosine), *described.reasons]
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

    def _row(self, item: str) -> int:
        if item not in self.catalogue.position:
            raise NotFoundError(f"no item {item!r} in the catalogue")
        return self.catalogue.position[item]

    def _rows(self, items: set[str]) -> list[int]:
        return sorted(self.catalogue.position[item] for item in items if item in self.catalogue.position)

    def _rating_words(self, events: Sequence[Event]) -> str:
        catalogue, settings = self.catalogue, self.settings
        categories = catalogue.categories_of(event.item for event in events)
        return profile.rating_words(
            events, settings.scale, categories, catalogue.category_frequency, settings.rating_words
        )

    async def _read(self, request: ListRequest, events: Sequence[Event]) -> _Asked:
        """Work out what a request comes to for a user. Raises as `recommend`."""
        catalogue, settings, today = self.catalogue, self.settings, _today()
        parsed = await self._parse(request, events)
        rating_words = self._rating_words(events) if request.rating_words else ""
        taste, _ = profile.long_term_taste(
            events, settings.scale, settings.taste_rate, catalogue.position, catalogue.embeddings
        )
        return _Asked(
            events=events,
            today=today,
            parsed=parsed,
            allowed=allowed_items(catalogue, self.rules, today, request, parsed, events),
            rating_words=rating_words,
            query=" ".join(part for part in (parsed.text, rating_words) if part),
            history=profile.recent_history(events, settings.scale, settings.short_term),
            taste=taste,
            unwanted=catalogue.embeddings[self._rows(profile.unwanted_kinds(events))],
        )

    def _rescore(self, asked: _Asked, candidates: Candidates) -> np.ndarray:
        """Return the scores of candidates, float64 [n], with taste, unwanted kinds and rules."""
        settings, embeddings = self.settings, self.catalogue.embeddings[candidates.rows]
        scores = adjust_scores(
            candidates.scores, embeddings, asked.taste, settings.taste_weight, asked.unwanted, settings.unwanted_weight
        )
        return rules.apply_weights(self.rules, asked.today, candidates.rows, scores)

    def _reason_context(self, asked: _Asked) -> ReasonContext:
        return ReasonContext(
            self.catalogue,
            self.settings,
            asked.events,
            asked.taste,
            asked.parsed.text,
            bool(asked.history.ids),
            self.rules,
            asked.today,
        )

    def _based_on(self, request: ListRequest, asked: _Asked) -> list[str]:
        text = asked.parsed.text if self.catalogue.takes_text else ""
        if request.search and text:
            return ["words"]
        sources = {
            "history": bool(asked.history.ids),
            "taste": asked.taste is not None,
            "words": bool(text),
            "rating_words": bool(asked.rating_words),
        }
        return [name for name, used in sources.items() if used] or ["popularity"]

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
