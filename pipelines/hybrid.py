"""The hybrid score of a session: what it counts in training, and its weights, learned on the validation split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize
from scipy.special import logsumexp

from pipelines import metrics
from pipelines.blend import Blend
from pipelines.heldout import Requests, with_targets
from pipelines.queries import Queries
from pipelines.scoring import ModelScorer, pad_history
from pipelines.session import Session
from pipelines.statistics import completed, count_statistics, neighbour_links, training_matrix
from towers.hybrid import (
    BORROWED,
    NEIGHBOURS,
    NEW,
    POPULARITY,
    RECENT,
    SUCCESSORS,
    TOWER,
    HybridScore,
    Links,
    Statistics,
)

MEASURED = ("recall@20", "ndcg@10", "ndcg@20")
_FEW = 500  # requests that choose the regularization
_PRIOR = 1e-3  # of the squared weights of standardised parts; it only keeps parts that say the same from drifting


def session_statistics(session: Session, trained: np.ndarray, table: np.ndarray, regularization: float) -> Statistics:
    """What was counted in training, for the items of an index.

    Args:
      trained: int64 [N], see `pipelines.index.Index`.
      table: float32 [N, D], their embeddings.
      regularization: of the linear model behind the neighbours.
    """
    config, count = session.config, len(session.catalogue)
    ordered = session.manifest.schema_.ordered
    counted = count_statistics(
        session.events,
        count,
        config.user.history,
        ordered=ordered,
        regularization=regularization,
        settings=config.hybrid,
    )
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return completed(counted, trained, unit, config.hybrid.nearest)


def index_statistics(session: Session, trained: np.ndarray, table: np.ndarray) -> Statistics | None:
    """`session_statistics` for the items of an index; None where the run has learned no hybrid score."""
    blend = session.blend
    return None if blend is None else session_statistics(session, trained, table, blend.regularization)


def hybrid_of(session: Session, statistics: Statistics | None) -> HybridScore | None:
    """The hybrid score over the items of the statistics; None where the run has learned none."""
    return None if session.blend is None or statistics is None else HybridScore(statistics, session.blend.weights)


def trained_scorer(session: Session, requests: Requests) -> ModelScorer:
    """The trained model as it is exported: the towers, in the hybrid score where the run has one."""
    table = session.model.items()[0]
    statistics = index_statistics(session, np.arange(len(session.catalogue)), table.numpy())
    return ModelScorer(session.model, requests, table, hybrid_of(session, statistics))


def learn_blend(session: Session, requests: Requests) -> Blend:
    """Learns the weights by maximum likelihood over the catalogue, part by part in a fixed order.

    Args:
      session: with the weights of the best epoch.
      requests: of the validation split.
    """
    settings, evaluate, count = session.config.hybrid, session.config.evaluate, len(session.catalogue)
    table = session.model.items()[0]
    queries = with_targets(requests.queries)
    queries = queries.take(_some(len(queries), settings.queries, session.config.seed))
    if not len(queries):
        return Blend(settings.regularizations[0], {TOWER: 1.0}, [])
    candidates = _some(count, settings.candidates, session.config.seed)
    scorer = ModelScorer(session.model, requests, table)

    borrowed = np.bincount(session.events.items, minlength=count) == 0
    first = _first_times(requests, borrowed)

    def parts_of(statistics: Statistics, names: Sequence[str], queries: Queries) -> tuple[np.ndarray, float]:
        everything = HybridScore(statistics, dict.fromkeys(names, 1.0))
        return _parts(scorer, everything, names, queries, candidates, first, evaluate.batch)

    def loss_of(links: Links) -> float:
        last = {NEIGHBOURS: session.config.user.history}
        alone = Statistics({NEIGHBOURS: links}, np.zeros(count, np.float32), borrowed, last)
        values, correction = parts_of(alone, [TOWER, NEIGHBOURS], few)
        return _maximum_likelihood(values, correction, [False, False])[1]

    regularization = settings.regularizations[0]
    if len(settings.regularizations) > 1 and count <= settings.linear_items:
        few = queries.take(_some(len(queries), _FEW, session.config.seed))
        train = training_matrix(session.events, count)
        regularization = min(
            settings.regularizations, key=lambda strength: loss_of(neighbour_links(train, strength, settings))
        )
    statistics = session_statistics(session, np.arange(count), table.numpy(), regularization)
    new_targets = sum(bool(borrowed[targets[0]]) for targets in queries.targets)
    stages = _stages(statistics, learns_new=new_targets >= settings.least_new)
    values, correction = parts_of(statistics, [name for stage in stages for name in stage], queries)
    steps: list[dict[str, object]] = []
    weights: dict[str, float] = {}
    for size in range(1, len(stages) + 1):
        parts = [name for stage in stages[:size] for name in stage]
        free = [name == NEW for name in parts]
        learned, loss = _maximum_likelihood(values[..., : len(parts)], correction, free)
        weights = dict(zip(parts, learned, strict=True))
        if NEIGHBOURS in weights and BORROWED not in weights:  # too few new targets to learn their own weight from
            weights[BORROWED] = weights[NEIGHBOURS]
        scorer.hybrid = HybridScore(statistics, weights)
        ranking = metrics.rank(
            lambda part: np.where(_absent(first, part.times), -np.inf, scorer(part)),
            queries,
            num_items=count,
            depth=evaluate.depth,
            batch=evaluate.batch,
        )
        accuracy = metrics.accuracy(ranking, queries)
        steps.append({"parts": parts, "loss": loss, "weights": weights, **{name: accuracy[name] for name in MEASURED}})
    return Blend(regularization, weights, steps)


def _stages(statistics: Statistics, *, learns_new: bool) -> list[list[str]]:
    """The parts in the order in which they are added."""
    stages = [[TOWER], [NEIGHBOURS]]
    if SUCCESSORS in statistics.links:
        stages += [[RECENT], [SUCCESSORS]]
    stages.append([POPULARITY])
    return [*stages, [BORROWED, NEW]] if learns_new else stages


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


def _absent(first: np.ndarray, times: np.ndarray) -> np.ndarray:
    """bool [q, N]: what was not there yet, as far as times are known."""
    return (first > times[:, None]) & (times > 0)[:, None]


def _parts(
    scorer: ModelScorer,
    hybrid: HybridScore,
    names: Sequence[str],
    queries: Queries,
    candidates: np.ndarray,
    first: np.ndarray,
    batch: int,
) -> tuple[np.ndarray, float]:
    """Parts float32 [Q, 1 + C, P] of the target and of C candidates, NaN where one is a target, was seen, or was not there
    yet; and the log of how many items of the catalogue a candidate stands for.

    Of several targets the first stands for the request. As in training, a new item is no negative before anybody took it.
    """
    length = scorer.model.user_tower.history
    rows = []

    @tf.function(reduce_retracing=True)
    def parts(index: tf.Tensor, count: tf.Tensor) -> list[tf.Tensor]:
        return [hybrid.part(name, index, count) for name in names if name != TOWER]

    for start in range(0, len(queries), batch):
        part = queries.slice(start, start + batch)
        index = tf.constant(pad_history(part.histories, length, np.int32))
        count = tf.constant([min(len(history), length) for history in part.histories], tf.int32)
        values = [scorer.tower(part), *(value.numpy() for value in parts(index, count))]
        stacked = np.stack([np.broadcast_to(value, values[0].shape) for value in values], axis=-1)
        absent = _absent(first, part.times)
        for row, (history, targets) in enumerate(zip(part.histories, part.targets, strict=True)):
            target = stacked[row, targets[0]].copy()
            stacked[row, absent[row]] = np.nan
            stacked[row, history] = np.nan
            stacked[row, targets] = np.nan
            rows.append(np.concatenate([target[None], stacked[row, candidates]]))
    return np.stack(rows), float(np.log(scorer.model.num_items / len(candidates)))


def _maximum_likelihood(values: np.ndarray, correction: float, free: Sequence[bool]) -> tuple[list[float], float]:
    """The parts' weights and the mean cross-entropy.

    Args:
      values: float32 [Q, 1 + C, P], the target first.
      correction: log of how many items of the catalogue each candidate stands for.
      free: for each part, whether its weight may be negative.
    """
    there = ~np.isnan(values).any(axis=-1)
    scale = np.array([values[..., part][there].std() for part in range(values.shape[-1])]) + 1e-9
    standard = np.where(there[..., None], values, 0.0).astype(np.float64) / scale
    offset = np.where(there, correction, -np.inf)
    offset[:, 0] = 0.0

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = standard @ weights + offset
        log_z = logsumexp(logits, axis=1)
        share = np.exp(logits - log_z[:, None])
        gradient = np.einsum("qc,qcp->p", share, standard) / len(share) - standard[:, 0].mean(axis=0)
        value = (log_z - logits[:, 0]).mean() + _PRIOR * (weights @ weights)
        return float(value), gradient + 2 * _PRIOR * weights

    found = minimize(
        loss,
        np.full(len(scale), 0.1),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None if any_sign else 0.0, None) for any_sign in free],
    )
    return [float(weight) for weight in found.x / scale], float(found.fun - _PRIOR * (found.x @ found.x))
