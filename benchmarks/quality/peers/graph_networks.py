"""Networks of the graph models, in torch: LightGCN, BM3 and FREEDOM. `graph_models` trains them and scores with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch.nn import functional

from benchmarks.quality.peers.content import feature_names
from benchmarks.quality.peers.graph_models import Embeddings
from benchmarks.quality.peers.graphs import (
    alike_graph,
    draw_negatives,
    drop_edges,
    event_keys,
    inverse_root,
    user_item_graph,
)
from benchmarks.quality.peers.interface import TrainingData

_DENSE = 0.2  # content of at least this density is kept as a dense matrix


class _Multiply(torch.autograd.Function):
    """A constant sparse matrix times a dense one; the gradient goes through the transposed matrix."""

    @staticmethod
    def forward(context: Any, matrix: torch.Tensor, transposed: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        context.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[None, None, torch.Tensor]:  # type: ignore[override]
        return None, None, context.transposed @ gradient


class Sparse:
    """A constant sparse matrix. Args: matrix, csr [n, m]; symmetric, whether it equals its transpose."""

    def __init__(self, matrix: sp.csr_matrix, *, symmetric: bool = False):
        self.matrix = _tensor(matrix)
        self.transposed = self.matrix if symmetric else _tensor(sp.csr_matrix(matrix.T))

    def __matmul__(self, dense: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = _Multiply.apply(self.matrix, self.transposed, dense)
        return product


def _tensor(matrix: sp.csr_matrix) -> torch.Tensor:
    parts = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    return torch.sparse_csr_tensor(*parts, torch.from_numpy(matrix.data.astype(np.float32)), size=matrix.shape)


def _content(matrix: sp.csr_matrix) -> torch.Tensor | Sparse:
    """Content of items, float32 [N, d], dense where few entries are zero."""
    dense = matrix.nnz >= _DENSE * matrix.shape[0] * matrix.shape[1]
    return torch.from_numpy(matrix.toarray()) if dense else Sparse(matrix)


class GraphNetwork(torch.nn.Module):
    """Embeddings of users and items, and their propagation (LightGCN; He et al., SIGIR 2020).

    Args:
      training: the events.
      params: factors, layers; penalty in subclasses' losses.
      rng: for draws outside of torch.
    """

    def __init__(self, training: TrainingData, params: Mapping[str, Any], rng: np.random.Generator):
        super().__init__()
        self.params, self.rng = params, rng
        self.events = training.matrix
        self.met = event_keys(self.events)
        self.num_users = len(training.user_ids)
        self.graph = Sparse(user_item_graph(self.events), symmetric=True)
        # Items without events are told from others by being drawn as negatives, as in the published code.
        self.candidates = np.arange(training.num_items)
        self.table = torch.nn.Parameter(torch.empty(self.num_users + training.num_items, params["factors"]))
        for part in (self.table[: self.num_users], self.table[self.num_users :]):
            torch.nn.init.xavier_uniform_(part.detach())

    def start_epoch(self) -> Sparse:
        """Return the graph to train with in an epoch."""
        return self.graph

    def layers(self, graph: Sparse) -> list[torch.Tensor]:
        """Return the embeddings of users and items, [U + N, d], before propagation and behind each layer."""
        result = [self.table]
        for _ in range(self.params["layers"]):
            result.append(graph @ result[-1])
        return result

    def propagated(self, graph: Sparse) -> tuple[torch.Tensor, torch.Tensor]:
        """Return users [U, d] and items [N, d], the mean of all layers."""
        mean = torch.stack(self.layers(graph)).mean(dim=0)
        return mean[: self.num_users], mean[self.num_users :]

    def loss(self, graph: Sparse, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch of events, users and items int64 [B]: BPR with one negative of each."""
        user_side, item_side = self.propagated(graph)
        negatives = self.negatives(users)
        rows = (users, self.num_users + items, self.num_users + negatives)
        penalty = sum(self.table[row].square().sum() for row in rows) / (2 * len(users))
        return bpr(user_side[users], item_side[items], item_side[negatives]) + self.params["penalty"] * penalty

    def negatives(self, users: torch.Tensor) -> torch.Tensor:
        """Draw an item that the user has not met, for each user of a batch."""
        return torch.from_numpy(
            draw_negatives(self.met, users.numpy(), self.events.shape[1], self.candidates, self.rng)
        )

    def final(self) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return users and items to score with, and the head of `Embeddings`."""
        factors = self.params["factors"]
        return (*self.propagated(self.graph), (torch.eye(factors), torch.zeros(factors)))

    def embeddings(self) -> Embeddings:
        """Return a copy of what scoring needs."""
        with torch.no_grad():
            users, items, head = self.final()
            layers = self.layers(self.graph)
            below = sum(layer[self.num_users :] for layer in layers[:-1]) / len(layers)
        degrees = inverse_root(np.asarray(self.events.sum(axis=0)).ravel())
        matrix, bias = (part.detach().numpy().copy() for part in head)
        return Embeddings(users.numpy(), items.numpy(), degrees[:, None] * np.asarray(below), (matrix, bias))


def bpr(users: torch.Tensor, items: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Return the loss of Bayesian personalised ranking (Rendle et al., UAI 2009), rows [B, d]."""
    return functional.softplus((users * (negatives - items)).sum(dim=1)).mean()


class Bm3(GraphNetwork):
    """BM3 (Zhou et al., WWW 2023): bootstrapped views by dropout, without negatives.

    Online views go through a predictor; their targets are the same embeddings under dropout, without a gradient. Besides
    reconstruction of the graph, projections of each content feature are aligned with the item's target, and with their own
    target under dropout. Params: factors, layers, dropout, penalty, features.
    """

    def __init__(self, training: TrainingData, params: Mapping[str, Any], rng: np.random.Generator):
        super().__init__(training, params, rng)
        contents = [training.content[name] for name in feature_names(training, params["features"])]
        self.features = [_content(content) for content in contents]
        self.present = [torch.from_numpy(np.diff(content.indptr) > 0) for content in contents]
        self.projections = torch.nn.ModuleList(_projection(content.shape[1], params["factors"]) for content in contents)
        self.predictor = torch.nn.Linear(params["factors"], params["factors"])
        torch.nn.init.xavier_normal_(self.predictor.weight)

    def propagated(self, graph: Sparse) -> tuple[torch.Tensor, torch.Tensor]:
        """Return users and items as LightGCN's, with the item's own embedding added."""
        users, items = super().propagated(graph)
        return users, items + self.table[self.num_users :]

    def target(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the other view of embeddings: dropout, and no gradient."""
        return functional.dropout(rows.detach(), self.params["dropout"])

    def loss(self, graph: Sparse, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch of events; see the class."""
        user_side, item_side = self.propagated(graph)
        user_rows_, item_rows = user_side[users], item_side[items]
        item_target = self.target(item_rows)
        loss = apart(self.predictor(user_rows_), item_target) + apart(
            self.predictor(item_rows), self.target(user_rows_)
        )
        penalty = user_rows_.square().sum(dim=1).mean() + item_rows.square().sum(dim=1).mean()
        for features, present, projection in zip(self.features, self.present, self.projections, strict=True):
            has = present[items]
            view = _rows(features, projection, items)[has]
            online = self.predictor(view)
            loss = loss + apart(online, item_target[has]) + apart(online, self.target(view))
        return loss + self.params["penalty"] * penalty

    def final(self) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return users and items behind the predictor."""
        users, items = self.propagated(self.graph)
        head = (self.predictor.weight.T, self.predictor.bias)
        return self.predictor(users), self.predictor(items), head


def apart(online: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 minus the mean cosine of the rows [B, d]; 0 without rows."""
    return (1.0 - functional.cosine_similarity(online, target, dim=1)).sum() / max(len(online), 1)


def _projection(width: int, factors: int) -> torch.nn.Linear:
    layer = torch.nn.Linear(width, factors)
    torch.nn.init.xavier_normal_(layer.weight)
    return layer


def _rows(features: torch.Tensor | Sparse, projection: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Project the content of some items, [B, d]."""
    if isinstance(features, Sparse):
        return (features @ projection.weight.T)[items] + projection.bias
    projected: torch.Tensor = projection(features[items])
    return projected


class Freedom(GraphNetwork):
    """FREEDOM (Zhou and Shen, ACM MM 2023): a frozen graph of items alike, and a denoised graph of users and items.

    Params: factors, layers (over users and items), neighbours and hops (over items alike), dropped (share of the edges, drawn
    anew for each epoch), alignment (weight of BPR with projected content), features. The features' graphs are
    averaged.
    """

    def __init__(self, training: TrainingData, params: Mapping[str, Any], rng: np.random.Generator):
        super().__init__(training, params, rng)
        contents = [training.content[name] for name in feature_names(training, params["features"])]
        graphs = [alike_graph(content, params["neighbours"]) for content in contents]
        self.alike = Sparse(sp.csr_matrix(sum(graphs) / len(graphs)))
        self.features = [_content(content) for content in contents]
        self.projections = torch.nn.ModuleList(_projection(content.shape[1], params["factors"]) for content in contents)
        # The graph of items alike reaches those without events: they must not be learned as negatives.
        self.candidates = np.flatnonzero(training.warm)

    def start_epoch(self) -> Sparse:
        """Drop edges anew."""
        kept = drop_edges(self.events, self.params["dropped"], self.rng)
        return Sparse(user_item_graph(kept), symmetric=True)

    def propagated(self, graph: Sparse) -> tuple[torch.Tensor, torch.Tensor]:
        """Return users as LightGCN's, and items as the sum of LightGCN's and of those alike."""
        users, items = super().propagated(graph)
        alike = self.table[self.num_users :]
        for _ in range(self.params["hops"]):
            alike = self.alike @ alike
        return users, items + alike

    def loss(self, graph: Sparse, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return BPR on embeddings, and with less weight on each projected content feature."""
        user_side, item_side = self.propagated(graph)
        negatives, rows = self.negatives(users), user_side[users]
        loss = bpr(rows, item_side[items], item_side[negatives])
        for features, projection in zip(self.features, self.projections, strict=True):
            both = _rows(features, projection, torch.cat([items, negatives]))
            loss = loss + self.params["alignment"] * bpr(rows, both[: len(items)], both[len(items) :])
        return loss
