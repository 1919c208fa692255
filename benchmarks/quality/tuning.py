"""Tuning of peers: every point of the grid is fitted, and the best one is chosen per slice on validation alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.quality.fit_cache import FitCache, FittedPeer
from benchmarks.quality.heldout import SLICES, TUNING_METRIC, BenchmarkSplit, metric_values, slice_queries
from benchmarks.quality.peers.table import Peer
from pipelines.runs.progress import say


@dataclass(frozen=True)
class TunedPeer:
    """A peer tuned for one slice.

    Attributes:
      params: chosen parameters of fitting and scoring.
      valid: `TUNING_METRIC` on validation.
      lists: test lists of each seed, int32 [Q, depth].
      seconds: time of one fit.
      epochs: of each seed, the best epoch on validation and all that were trained; empty for a peer that does not stop
        early.
    """

    params: Mapping[str, Any]
    valid: float
    lists: Sequence[np.ndarray]
    seconds: float
    epochs: Sequence[tuple[int, int]] = ()


def best_point(values: Sequence[float]) -> int:
    """Return the position of the largest value, the first of equal ones."""
    return int(np.argmax(values))


def tune_peers(
    peers: Sequence[Peer], split: BenchmarkSplit, cache: FitCache, seeds: Sequence[int]
) -> tuple[dict[str, dict[str, TunedPeer]], dict[str, str]]:
    """Tune peers on the validation requests.

    Args:
      peers: rows of the table.
      split: training data and requests.
      cache: fits the peers.
      seeds: the grid is searched with the first; a seeded peer is fitted with the others at the chosen points only.

    Returns:
      Peer -> slice -> the tuned peer; and peer -> reason, for peers that are skipped.

    Raises:
      DataError: a fit failed.
    """
    skipped: dict[str, str] = {}
    grids: list[tuple[Peer, list[dict[str, Any]]]] = []
    for peer in peers:
        reason = peer.unsuitable_reason(split.kinds, ordered=split.manifest.schema_.ordered)
        reason = reason or cache.unavailable_reason(peer)
        if reason:
            skipped[peer.name] = reason
            say(f"{peer.name}: skipped, {reason}")
        else:
            grids.append((peer, peer.points(split.kinds)))
    total, done = sum(len(points) for _, points in grids), 0
    # Stored fits load at once: they must not count in the estimate of the remaining time.
    remaining = sum(not cache.path(peer, params, seeds[0]).is_file() for peer, points in grids for params in points)
    num_new, started = 0, time.monotonic()
    tuned: dict[str, dict[str, TunedPeer]] = {}
    for peer, points in grids:
        fits = []
        for params in points:
            is_new = not cache.path(peer, params, seeds[0]).is_file()
            fits.append(cache.fit(peer, params, seeds[0]))
            done, num_new = done + 1, num_new + is_new
            if is_new:
                left = (time.monotonic() - started) / num_new * (remaining - num_new)
                seconds = fits[-1].fit_seconds
                say(f"  {done}/{total} {peer.name} {params}: {seconds:.1f} s; {left:.0f} s left at this rate")
        tuned[peer.name] = _choose(peer, points, fits, split, cache, seeds)
    return tuned, skipped


def _choose(
    peer: Peer,
    points: Sequence[Mapping[str, Any]],
    fits: Sequence[FittedPeer],
    split: BenchmarkSplit,
    cache: FitCache,
    seeds: Sequence[int],
) -> dict[str, TunedPeer]:
    training = split.training
    chosen: dict[str, TunedPeer] = {}
    for name in SLICES:
        queries, rows = slice_queries(split.queries["valid"], training.warm, name)
        if not len(queries):
            # No validation requests in the slice: take the best point on all of them.
            chosen[name] = chosen["all"]
            continue
        values = [
            float(metric_values(lists, queries, rows, training.num_items)[TUNING_METRIC].mean())
            for fit in fits
            for lists in fit.lists["valid"]
        ]
        best = best_point(values)
        point, scoring = divmod(best, len(peer.scoring))
        other_seeds = [cache.fit(peer, points[point], seed) for seed in seeds[1:]] if peer.seeded else []
        by_seed = [fits[point], *other_seeds]
        chosen[name] = TunedPeer(
            {**points[point], **peer.scoring[scoring]},
            values[best],
            [fit.lists["test"][scoring] for fit in by_seed],
            fits[point].fit_seconds,
            [fit.epochs for fit in by_seed if fit.epochs],
        )
    return chosen
