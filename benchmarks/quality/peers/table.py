"""The table of peers: their code, libraries, and the parameters that are tuned on validation."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from benchmarks.quality.peers.interface import FitFunction

__all__ = ["EACH", "PEERS", "Peer", "grid", "peers_named"]

ALL, EACH, CATEGORIES = "all", "each", "categories"

IMAGE, VECTOR = "image", "vector"


def grid(**choices: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Return every combination of the values of each parameter."""
    return tuple(dict(zip(choices, values, strict=True)) for values in product(*choices.values()))


@dataclass(frozen=True)
class Peer:
    """One peer.

    Attributes:
      name: as in the results.
      fit: "module:function" of a `benchmarks.quality.peers.interface.FitFunction`.
      grid: fitting parameters to choose from.
      scoring: scoring options to choose from, with each fit.
      needs: modules that only the peers' interpreter has; without any, the peer runs in this interpreter.
      seeded: the model depends on the seed.
      ordered: it needs events with an order.
      content: it needs items with content. In the grid, `features` may be "all" of them, "" for none, "each", which gives
        one point per feature, or "categories", those of that kind.
      dense: kinds of features of which it needs one, in order of preference; its name becomes the parameter `feature`.
      revision: raised when the meaning of a parameter changes, so that stored fits are not reused.
    """

    name: str
    fit: str
    grid: tuple[Mapping[str, Any], ...]
    scoring: tuple[Mapping[str, Any], ...] = ({},)
    needs: tuple[str, ...] = ()
    seeded: bool = False
    ordered: bool = False
    content: bool = False
    dense: tuple[str, ...] = field(default=())
    revision: int = 1

    def resolve(self) -> FitFunction:
        """Import the fit function."""
        module, name = self.fit.split(":")
        function: FitFunction = getattr(importlib.import_module(module), name)
        return function

    def unsuitable_reason(self, kinds: Mapping[str, str], *, ordered: bool) -> str | None:
        """Say why data with these item features (name -> kind) does not suit the peer; None if it does."""
        if self.ordered and not ordered:
            return "the events have no order"
        if self.content and not kinds:
            return "the items have no content"
        if self.dense and not set(self.dense) & set(kinds.values()):
            return f"no item feature is of kind {' or '.join(self.dense)}"
        return None

    def points(self, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the points of the grid for data with these item features."""
        result: list[dict[str, Any]] = []
        for point in self.grid:
            fixed = dict(point)
            if self.dense:
                fixed["feature"] = next(name for kind in self.dense for name in kinds if kinds[name] == kind)
            choices = [fixed.get("features")]
            if choices == [EACH]:
                choices = list(kinds)
            elif choices == [CATEGORIES]:
                choices = ["+".join(name for name in kinds if kinds[name] == CATEGORIES)]
            for features in choices:
                expanded = fixed | ({"features": features} if "features" in fixed else {})
                if expanded not in result and not (expanded.get("features") == ALL and not kinds):
                    result.append(expanded)
        return result


_KNN = grid(shrinkage=(10.0, 100.0), neighbours=(50, 100, 300))
_LAST = grid(last=(None, 50, 20, 10, 5))
_ALS = {"factors": (64,), "regularization": (1.0,), "iterations": (15,)}
_USERS = grid(users=("learned",)) + grid(users=("folded",), regularization=(1.0,), alpha=(1.0, 10.0), last=(None, 20))
_LIGHTFM = {"factors": (64,), "learning_rate": (0.05,)}
_VBPR = {"factors": (64,), "batch": (256,), "learning_rate": (0.005,)}
_SASREC = {"factors": (64,), "dropout": (0.2,), "batch": (32,), "learning_rate": (1e-3,), "heads": (2,), "blocks": (2,)}
_GRAPH = {
    "factors": (64,),
    "batch": (2048,),
    "learning_rate": (1e-3,),
    "epochs": (400,),
    "every": (4,),
    "patience": (8,),
}
# Validation has a first peak, of popularity, within a few epochs; the second one comes late.
_BM3 = {"features": (ALL,), **_GRAPH, "patience": (20,)}
_GRAPH_USERS = grid(users=("learned",)) + grid(users=("folded",), last=(None, 20))

PEERS: tuple[Peer, ...] = (
    Peer("popularity", "benchmarks.quality.peers.neighbours:popularity", grid()),
    Peer("item_knn", "benchmarks.quality.peers.neighbours:item_knn", _KNN, grid(last=(None,))),
    Peer("item_knn_last20", "benchmarks.quality.peers.neighbours:item_knn", _KNN, grid(last=(20,)), ordered=True),
    Peer("item_knn_last5", "benchmarks.quality.peers.neighbours:item_knn", _KNN, grid(last=(5,)), ordered=True),
    Peer(
        "transitions",
        "benchmarks.quality.peers.neighbours:transitions",
        grid(window=(1, 3, 10), shrinkage=(10.0, 50.0)),
        grid(last=(1, 2, 5, 10, 20)),
        ordered=True,
    ),
    Peer("ease", "benchmarks.quality.peers.ease:fit", grid(regularization=(100.0, 300.0, 1000.0, 3000.0)), _LAST),
    Peer(
        "ease_content",
        "benchmarks.quality.peers.ease:with_content",
        grid(regularization=(30.0, 100.0, 300.0, 1000.0), content=(30.0, 100.0, 300.0)),
        _LAST,
        content=True,
    ),
    Peer(
        "ials",
        "benchmarks.quality.peers.factors:ials",
        grid(alpha=(0.3, 1.0, 3.0, 10.0), **_ALS)
        + grid(alpha=(1.0,), **_ALS | {"factors": (128,)})
        + grid(alpha=(1.0,), **_ALS | {"regularization": (10.0,)}),
        _LAST,
        needs=("implicit",),
        seeded=True,
    ),
    Peer(
        "ials_ridge",
        "benchmarks.quality.peers.factors:ials_ridge",
        grid(alpha=(1.0, 10.0), features=(ALL,), **_ALS),
        grid(last=(None, 10), ridge=(0.1, 1.0), scale=(1.0, 3.0, 10.0)),
        needs=("implicit",),
        seeded=True,
        content=True,
    ),
    Peer("content_knn", "benchmarks.quality.peers.content:knn", grid(features=(EACH, ALL)), _LAST, content=True),
    Peer(
        "content_ridge",
        "benchmarks.quality.peers.content:user_ridge",
        grid(features=(EACH, ALL), regularization=(1.0,)) + grid(features=(ALL,), regularization=(0.1, 10.0)),
        _LAST,
        content=True,
    ),
    Peer(
        "lightfm_warp",
        "benchmarks.quality.peers.factors:lightfm",
        grid(features=("", CATEGORIES), epochs=(5, 10, 30), **_LIGHTFM),
        _USERS,
        needs=("lightfm",),
        seeded=True,
    ),
    Peer(
        "vbpr",
        "benchmarks.quality.peers.factors:vbpr",
        grid(penalty=(0.01,), epochs=(5, 20), **_VBPR) + grid(penalty=(0.001,), epochs=(10,), **_VBPR),
        _USERS,
        needs=("cornac", "torch"),
        seeded=True,
        content=True,
        dense=(IMAGE, VECTOR),
    ),
    Peer(
        "lightgcn",
        "benchmarks.quality.peers.graph_models:lightgcn",
        grid(layers=(1, 2, 3), penalty=(1e-4,), **_GRAPH) + grid(layers=(3,), penalty=(1e-3,), **_GRAPH),
        _GRAPH_USERS,
        needs=("torch",),
        seeded=True,
    ),
    Peer(
        "bm3",
        "benchmarks.quality.peers.graph_models:bm3",
        grid(layers=(1, 2), dropout=(0.3, 0.5), penalty=(1e-3,), **_BM3),
        _GRAPH_USERS,
        needs=("torch",),
        seeded=True,
        content=True,
    ),
    Peer(
        "freedom",
        "benchmarks.quality.peers.graph_models:freedom",
        grid(
            dropped=(0.5, 0.8, 0.9),
            alignment=(1e-3,),
            features=(ALL,),
            neighbours=(10,),
            hops=(1,),
            layers=(2,),
            **_GRAPH,
        ),
        _GRAPH_USERS,
        needs=("torch",),
        seeded=True,
        content=True,
    ),
    Peer(
        "tfrs_tutorial",
        "benchmarks.quality.peers.tfrs_tutorial:fit",
        grid(epochs=(3, 10, 30), batch=(2048,), factors=(32, 64), learning_rate=(0.1,)),
        seeded=True,
    ),
    Peer(
        "sasrec",
        "benchmarks.quality.peers.sasrec:fit",
        grid(length=(50, 200), epochs=(300,), every=(1,), patience=(10,), **_SASREC),
        needs=("rectools", "torch"),
        seeded=True,
        ordered=True,
        revision=2,
    ),
)
"""All peers; a new one is a function and a row."""


def peers_named(names: Iterable[str]) -> tuple[Peer, ...]:
    """Return the rows with these names, in this order. Raises KeyError."""
    table = {peer.name: peer for peer in PEERS}
    return tuple(table[name] for name in names)
