"""The weights of the hybrid score, and what bends its parts, learned on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import tensorflow as tf

from pipelines.hybrid.item_index import trained_index
from pipelines.hybrid.scorer import counted, of_index
from pipelines.item_item.likelihood import Shares, most_likely
from pipelines.item_item.statistics import Linear, neighbour_links, training_matrix
from pipelines.item_item.weights import Blend
from pipelines.model.session import Session, all_validation
from pipelines.scoring import metrics
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer, pad_history
from pipelines.scoring.requests import Queries, Requests, Scorer, with_targets
from towers.hybrid import BIAS, NEIGHBOURS, POPULARITY, RECENT, SUCCESSORS, TOWER, HybridScore, Statistics, links_of

MEASURED = ("recall@20", "ndcg@10", "ndcg@20")
_FEW = 500  # requests that choose the linear model and the softness


def learn_blend(session: Session, requests: Requests) -> Blend:
    """Learns the weights by maximum likelihood over the catalogue, part by part in a fixed order.

    As if nobody had typed anything: what was typed is evidence of its own, on top of the blend.

    Args:
      session: with the weights of the best epoch.
      requests: of the validation split.
    """
    settings, evaluate, count = session.config.hybrid, session.config.evaluate, len(session.catalogue)
    index = trained_index(session)
    new = session.unseen
    first = _first_times(all_validation(session), new)
    queries = with_targets(requests.queries)
    queries = queries.take(_there(queries, first))
    queries = queries.take(_some(len(queries), settings.queries, session.config.seed))
    if not len(queries):
        return Blend(settings.regularizations[0], {TOWER: 1.0}, {TOWER: 1.0}, [])
    candidates = _some(count, settings.candidates, session.config.seed)
    scorer = ModelScorer(ModelGraphs(session.model), requests.without_texts(), tf.constant(index.table))

    def parts_of(statistics: Statistics, names: Sequence[str], queries: Queries) -> Shares:
        everything = HybridScore(statistics, dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0), {})
        return _parts(scorer, everything, names, queries, candidates, new, first, evaluate.batch)

    rows = _some(len(queries), _FEW, session.config.seed)
    few, train = queries.take(rows), training_matrix(session.events, count)

    @cache
    def loss_of(linear: Linear) -> float:
        links = neighbour_links(train, linear, session.likeness, settings)
        alone = Statistics(
            {NEIGHBOURS: links}, np.zeros(count, np.float32), new, {NEIGHBOURS: session.config.user.max_history}
        )
        names, middle = [TOWER, NEIGHBOURS], settings.softness[len(settings.softness) // 2]
        return most_likely(softened(parts_of(alone, names, few), names, {NEIGHBOURS: middle}), 2, apart=False).loss

    linear = Linear(settings.regularizations[0])
    if count <= settings.linear_items:
        linear = _best_linear(loss_of, settings.regularizations, _content_weights(session))
    statistics = of_index(session, counted(session, linear, session.likeness), index)
    names = [TOWER, NEIGHBOURS, *([RECENT, SUCCESSORS] if SUCCESSORS in statistics.links else []), POPULARITY]
    shares = parts_of(statistics, names, queries)
    softness = _best_softness(shares.some(rows), names, settings.softness)
    shares = softened(shares, names, softness)
    steps: list[dict[str, object]] = []
    weights: dict[str, float] = {}
    new_weights: dict[str, float] = {}
    stages = [(size, False) for size in range(1, len(names) + 1)] + [(len(names), True)] * bool(new.any())
    for size, apart in stages:
        learned = most_likely(shares, size, apart=apart)
        weights = dict(zip(names, learned.weights, strict=False))
        new_weights = dict(zip(names, learned.new_weights, strict=False)) | ({BIAS: learned.bias} if apart else {})
        blended = replace(scorer, hybrid=HybridScore(statistics, weights, new_weights, softness))
        ranking = metrics.rank(
            _without_absent(blended, first),
            queries,
            num_items=count,
            depth=evaluate.depth,
            batch=evaluate.batch,
        )
        accuracy = metrics.accuracy(ranking, queries)
        measured = {name: accuracy[name] for name in MEASURED}
        own = {"new_weights": new_weights} if apart else {}
        steps.append({"parts": names[:size], "loss": learned.loss, "weights": weights, **own, **measured})
    return Blend(linear.regularization, weights, new_weights, steps, linear.content, softness)


def _content_weights(session: Session) -> Sequence[float]:
    return session.config.hybrid.content_weights if session.likeness is not None else (0.0,)


def _best_linear(
    loss_of: Callable[[Linear], float], regularizations: Sequence[float], contents: Sequence[float]
) -> Linear:
    """The pair of least loss, one after the other: what content is worth depends little on the regularization."""
    best = min((Linear(one, contents[0]) for one in regularizations), key=loss_of)
    best = min((Linear(best.regularization, one) for one in contents), key=loss_of)
    return min((Linear(one, best.content) for one in regularizations), key=loss_of)


def softened(shares: Shares, names: Sequence[str], softness: Mapping[str, float]) -> Shares:
    """The shares of a hybrid score with that softness, from those of one without."""
    values = shares.values.copy()
    for column, name in enumerate(names):
        if links_of(name) in softness:
            values[..., column] = np.arcsinh(values[..., column] / softness[links_of(name)])
    return replace(shares, values=values)


def _best_softness(shares: Shares, names: Sequence[str], choices: Sequence[float]) -> dict[str, float]:
    """That of least loss, first of the neighbours, whole and recent, then of the successors where there are any."""
    chosen: dict[str, float] = {}
    for links in dict.fromkeys(links_of(name) for name in names if name not in (TOWER, POPULARITY)):
        size = 1 + max(place for place, name in enumerate(names) if links_of(name) == links)
        losses = [
            most_likely(softened(shares, names, chosen | {links: one}), size, apart=False).loss for one in choices
        ]
        chosen[links] = choices[int(np.argmin(losses))]
    return chosen


def _some(count: int, limit: int, seed: int) -> np.ndarray:
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _first_times(requests: Requests, new: np.ndarray) -> np.ndarray:
    """int64 [N]: when each new item first came up in the requests, the largest int64 where it never did; 0 for others."""
    first = np.where(new, np.iinfo(np.int64).max, 0)
    at = requests.queries.times[requests.pair_rows]
    fresh = new[requests.pair_items]
    np.minimum.at(first, requests.pair_items[fresh], at[fresh])
    return first


def _there(queries: Queries, first: np.ndarray) -> np.ndarray:
    """bool [Q], requests whose target somebody had met before, as far as times are known.

    Who meets a new item first tells when it came, not how likely it is beside others once it is there.
    """
    return np.array(
        [time <= 0 or first[targets[0]] < time for targets, time in zip(queries.targets, queries.times, strict=True)],
        bool,
    )


def _absent(first: np.ndarray, times: np.ndarray) -> np.ndarray:
    """bool [q, N]: what was not there yet, as far as times are known."""
    return (first > times[:, None]) & (times > 0)[:, None]


def _without_absent(scorer: Scorer, first: np.ndarray) -> Scorer:
    """The scorer with -inf for items that were not there yet at the time of the request."""
    return lambda part: np.where(_absent(first, part.times), -np.inf, scorer(part))


def _parts(
    scorer: ModelScorer,
    hybrid: HybridScore,
    names: Sequence[str],
    queries: Queries,
    candidates: np.ndarray,
    new: np.ndarray,
    first: np.ndarray,
    batch: int,
) -> Shares:
    """The parts of the target and of C candidates, NaN where one is a target, was seen, or was not there yet.

    Of several targets the first stands for the request. As in training, a new item is no negative before anybody took it.
    """
    length = scorer.model.user_tower.max_history
    rows = []

    @tf.function(reduce_retracing=True)
    def parts(index: tf.Tensor, count: tf.Tensor) -> list[tf.Tensor]:
        return [hybrid.part(name, index, count) for name in names if name != TOWER]

    for start in range(0, len(queries), batch):
        part = queries.slice(start, start + batch)
        index = tf.constant(pad_history(part.histories, length, np.int32))
        count = tf.constant([min(len(history), length) for history in part.histories], tf.int32)
        values = [scorer.tower_scores(part), *(value.numpy() for value in parts(index, count))]
        stacked = np.stack([np.broadcast_to(value, values[0].shape) for value in values], axis=-1)
        absent = _absent(first, part.times)
        for row, (history, targets) in enumerate(zip(part.histories, part.targets, strict=True)):
            target = stacked[row, targets[0]].copy()
            stacked[row, absent[row]] = np.nan
            stacked[row, history] = np.nan
            stacked[row, targets] = np.nan
            rows.append(np.concatenate([target[None], stacked[row, candidates]]))
    asked = np.array([targets[0] for targets in queries.targets])
    is_new = np.concatenate(
        [new[asked][:, None], np.broadcast_to(new[candidates], (len(asked), len(candidates)))], axis=1
    )
    return Shares(np.stack(rows), is_new, float(np.log(scorer.model.num_items / len(candidates))))
