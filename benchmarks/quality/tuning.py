"""Every peer at every point of its grid; the point for each slice is chosen on validation alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.quality.fits import Fits, Fitted
from benchmarks.quality.heldout_lists import SLICES, TUNED_BY, Split, sliced, values
from benchmarks.quality.peers.table import Peer
from pipelines.runs.progress import say


@dataclass(frozen=True)
class Chosen:
    """A tuned peer on a slice: parameters, its value of `TUNED_BY` on validation, and the test lists of each seed.

    `seconds`: of one fit.
    """

    params: Mapping[str, Any]
    valid: float
    lists: Sequence[np.ndarray]
    seconds: float


def best_point(found: Sequence[float]) -> int:
    """The position of the largest, the first of equal ones."""
    return int(np.argmax(found))


def tune(
    peers: Sequence[Peer], split: Split, fits: Fits, seeds: Sequence[int]
) -> tuple[dict[str, dict[str, Chosen]], dict[str, str]]:
    """Peer -> slice -> what was chosen; and peer -> why it was skipped.

    Args:
      seeds: the grid is searched with the first; a peer that draws is fitted with the others at the chosen points.

    Raises:
      DataError: a fit ended with an error.
    """
    skipped: dict[str, str] = {}
    work: list[tuple[Peer, list[dict[str, Any]]]] = []
    for peer in peers:
        reason = peer.unfit(split.kinds, ordered=split.manifest.schema_.ordered) or fits.missing(peer)
        if reason:
            skipped[peer.name] = reason
            say(f"{peer.name}: skipped, {reason}")
        else:
            work.append((peer, peer.points(split.kinds)))
    total, done = sum(len(points) for _, points in work), 0
    # What is kept takes no time: it must not make the rest look quick.
    left = sum(not fits.path(peer, params, seeds[0]).is_file() for peer, points in work for params in points)
    made, started = 0, time.monotonic()
    result: dict[str, dict[str, Chosen]] = {}
    for peer, points in work:
        found = []
        for params in points:
            new = not fits.path(peer, params, seeds[0]).is_file()
            found.append(fits(peer, params, seeds[0]))
            done, made = done + 1, made + new
            if new:
                seconds = (time.monotonic() - started) / made * (left - made)
                say(
                    f"  {done}/{total} {peer.name} {params}: {found[-1].fit_seconds:.1f} s; {seconds:.0f} s left at this rate"
                )
        result[peer.name] = _choose(peer, points, found, split, fits, seeds)
    return result, skipped


def _choose(
    peer: Peer,
    points: Sequence[Mapping[str, Any]],
    found: Sequence[Fitted],
    split: Split,
    fits: Fits,
    seeds: Sequence[int],
) -> dict[str, Chosen]:
    training = split.training
    chosen: dict[str, Chosen] = {}
    for name in SLICES:
        queries, rows = sliced(split.queries["valid"], training.warm, name)
        if not len(queries):
            # Nothing to choose by: the point that is best on all validation requests.
            chosen[name] = chosen["all"]
            continue
        reached = [
            float(values(lists, queries, rows, training.num_items)[TUNED_BY].mean())
            for fitted in found
            for lists in fitted.lists["valid"]
        ]
        best = best_point(reached)
        point, how = divmod(best, len(peer.asks))
        again = [fits(peer, points[point], seed) for seed in seeds[1:]] if peer.seeded else []
        chosen[name] = Chosen(
            {**points[point], **peer.asks[how]},
            reached[best],
            [fitted.lists["test"][how] for fitted in (found[point], *again)],
            found[point].fit_seconds,
        )
    return chosen
