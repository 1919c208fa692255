"""Graph models, small versions of our own in torch: LightGCN, BM3 and FREEDOM.

All of them propagate embeddings of users and items over the graph of the training events, in float32 on the CPU, and train to
the best epoch on validation. Scoring options are `users`, "learned" (users of the training split have embeddings of their own,
others are folded in) or "folded" (everyone is folded in), and `last`, the newest events that a folded user has edges to (None
for all). A user is folded in as one more node of the graph, with the events of the history as its edges and no embedding of
its own. Epochs are chosen with learned users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.quality.peers.early_stopping import EarlyStopped, train_to_best_epoch
from benchmarks.quality.peers.graphs import inverse_root
from benchmarks.quality.peers.interface import ScorerFactory, TrainingData, history_matrix, user_rows
from pipelines.scoring.requests import Queries, Scorer


@dataclass(frozen=True)
class Embeddings:
    """What scoring needs of a trained model.

    Attributes:
      users: float32 [U, d]; a score is the dot product with an item.
      items: float32 [N, d].
      folding: float32 [N, d], what an edge to an item adds to a folded user, before the division by sqrt(edges).
      head: float32 [d, d] and [d], the linear map from the sum to the folded user.
    """

    users: np.ndarray
    items: np.ndarray
    folding: np.ndarray
    head: tuple[np.ndarray, np.ndarray]


def _fit(network: str, training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Train a network with Adam on batches of events in random order, to its best epoch."""
    import torch

    from benchmarks.quality.peers import graph_networks

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model: graph_networks.GraphNetwork = getattr(graph_networks, network)(training, params, rng)
    pairs = model.events.tocoo()
    optimizer = torch.optim.Adam(model.parameters(), lr=params["learning_rate"], fused=True)

    def train_epoch() -> None:
        graph = model.start_epoch()
        for rows in np.array_split(rng.permutation(pairs.nnz), max(1, round(pairs.nnz / params["batch"]))):
            optimizer.zero_grad()
            batch = (torch.from_numpy(part[rows].astype(np.int64)) for part in (pairs.row, pairs.col))
            model.loss(graph, *batch).backward()
            optimizer.step()

    best = train_to_best_epoch(
        training,
        params,
        seed,
        train_epoch=train_epoch,
        scorer=lambda: make_scorer(training, model.embeddings(), {"users": "learned"}),
        state=model.embeddings,
    )
    return EarlyStopped(lambda options: make_scorer(training, best.state, options), best.epoch, best.trained)


def make_scorer(training: TrainingData, embeddings: Embeddings, options: Mapping[str, Any]) -> Scorer:
    """Return a scorer of trained embeddings; see the module for the options."""

    def score(queries: Queries) -> np.ndarray:
        edges = history_matrix(queries.histories, training.num_items, options.get("last"))
        counts = inverse_root(np.diff(edges.indptr))
        matrix, bias = embeddings.head
        users = (counts[:, None] * (edges @ embeddings.folding)) @ matrix + bias
        if options["users"] == "learned":
            rows = user_rows(training, queries)
            users = np.where(rows[:, None] >= 0, embeddings.users[rows], users)
        return np.asarray(users @ embeddings.items.T, np.float32)

    return score


def lightgcn(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit LightGCN with BPR. Parameters: those of `GraphNetwork`, penalty, batch, learning_rate, and of early stopping."""
    return _fit("GraphNetwork", training, params, seed)


def bm3(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit BM3. Parameters: those of `Bm3`, batch, learning_rate, and of early stopping."""
    return _fit("Bm3", training, params, seed)


def freedom(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit FREEDOM. Parameters: those of `Freedom`, batch, learning_rate, and of early stopping."""
    return _fit("Freedom", training, params, seed)
