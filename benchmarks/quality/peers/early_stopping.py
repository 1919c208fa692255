"""Training to the best epoch on validation, for peers that learn in epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from benchmarks.quality.peers.interface import ScorerFactory, TrainingData
from pipelines.scoring import metrics
from pipelines.scoring.requests import Queries, Scorer

STOPPING_METRIC = "ndcg@20"
_MOST_REQUESTS = 4_000  # of validation that are ranked behind an epoch; the grid is searched with all of them
_BATCH = 512  # queries scored at a time

State = TypeVar("State")


@dataclass(frozen=True)
class BestEpoch(Generic[State]):
    """The state of a model at its best epoch.

    Attributes:
      state: what was kept of the model.
      epoch: that epoch, counted from 1.
      trained: epochs that were trained until it was clear.
    """

    state: State
    epoch: int
    trained: int


@dataclass(frozen=True)
class EarlyStopped:
    """A fitted peer, a `ScorerFactory`, that also says how long it was trained.

    Attributes:
      make_scorer: the scorers of the best epoch.
      best_epoch, trained_epochs: as in `BestEpoch`.
    """

    make_scorer: ScorerFactory
    best_epoch: int
    trained_epochs: int

    def __call__(self, options: Mapping[str, Any]) -> Scorer:
        return self.make_scorer(options)


def stopping_requests(validation: Queries, seed: int) -> Queries:
    """Return the validation requests that decide when to stop: all, or a random part of many, in their order."""
    if len(validation) <= _MOST_REQUESTS:
        return validation
    chosen = np.random.default_rng(seed).choice(len(validation), _MOST_REQUESTS, replace=False)
    return validation.take(np.sort(chosen))


def train_to_best_epoch(
    training: TrainingData,
    params: Mapping[str, Any],
    seed: int,
    *,
    train_epoch: Callable[[], None],
    scorer: Callable[[], Scorer],
    state: Callable[[], State],
) -> BestEpoch[State]:
    """Train until NDCG@20 on validation has not risen for a while, and return the model's state where it was highest.

    Args:
      training: with validation requests.
      params: epochs (at most so many), every (epochs from one look at validation to the next) and patience (looks
        without a new best after which training ends).
      seed: of the draw of validation requests.
      train_epoch: trains for one epoch.
      scorer: makes a scorer of the model as it is.
      state: copies what a scorer needs later.

    Raises:
      ValueError: there are no validation requests.
    """
    if training.validation is None or not len(training.validation):
        raise ValueError("early stopping needs validation requests")
    requests = stopping_requests(training.validation, seed)
    best: BestEpoch[State] | None = None
    highest, waited, epoch = -np.inf, 0, 0
    while epoch < params["epochs"] and waited < params["patience"]:
        epoch += 1
        train_epoch()
        if epoch % params["every"] and epoch < params["epochs"]:
            continue
        lists = metrics.rank(scorer(), requests, num_items=training.num_items, depth=20, batch=_BATCH)
        value = float(metrics.per_query(lists, requests, STOPPING_METRIC).mean())
        waited += 1
        if value > highest:
            highest, waited, best = value, 0, BestEpoch(state(), epoch, epoch)
        print(
            f"epoch {epoch} of at most {params['epochs']}: validation {STOPPING_METRIC} {value:.5f}, "
            f"best {highest:.5f} at epoch {best.epoch if best else 0}",
            flush=True,
        )
    if best is None:
        raise ValueError(f"no epoch to choose from: epochs {params['epochs']}, patience {params['patience']}")
    return BestEpoch(best.state, best.epoch, epoch)
