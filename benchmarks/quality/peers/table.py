"""The table of peers: what is fitted, in which interpreter, with which parameters to choose from on validation."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from benchmarks.quality.peers.base import Fit

__all__ = ["EACH", "PEERS", "Peer", "grid", "named"]

ALL, EACH, CATEGORIES = "all", "each", "categories"

IMAGE, VECTOR = "image", "vector"


def grid(**choices: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Every combination of the values given for each parameter."""
    return tuple(dict(zip(choices, values, strict=True)) for values in product(*choices.values()))


@dataclass(frozen=True)
class Peer:
    """A row.

    Attributes:
      name: as in the results.
      fit: "module:function" of a `benchmarks.quality.peers.base.Fit`.
      grid: parameters of fitting to choose from.
      asks: parameters of asking to choose from, with each fit.
      needs: modules that only the peers' interpreter has; none: it runs in this one.
      seeded: whether another seed gives another model.
      ordered: whether it needs events that have an order.
      content: whether it needs items with content. In the grid, `features` may be "all" of them together, "" none,
        "each", which stands for a point with each one alone, or "categories", those of that kind.
      dense: kinds of features of which it needs one, in order of preference; its name becomes the parameter `feature`.
      revision: raised when the same parameters come to mean something else, so that kept fits are not taken for it.
    """

    name: str
    fit: str
    grid: tuple[Mapping[str, Any], ...]
    asks: tuple[Mapping[str, Any], ...] = ({},)
    needs: tuple[str, ...] = ()
    seeded: bool = False
    ordered: bool = False
    content: bool = False
    dense: tuple[str, ...] = field(default=())
    revision: int = 1

    def resolve(self) -> Fit:
        module, name = self.fit.split(":")
        function: Fit = getattr(importlib.import_module(module), name)
        return function

    def unfit(self, kinds: Mapping[str, str], *, ordered: bool) -> str | None:
        """Why it cannot be fitted to data with these item features (name -> kind); None: it can."""
        if self.ordered and not ordered:
            return "the events have no order"
        if self.content and not kinds:
            return "the items have no content"
        if self.dense and not set(self.dense) & set(kinds.values()):
            return f"no item feature is of kind {' or '.join(self.dense)}"
        return None

    def points(self, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
        """The grid for data with these item features: each point once."""
        result: list[dict[str, Any]] = []
        for point in self.grid:
            fixed = dict(point)
            if self.dense:
                fixed["feature"] = next(name for kind in self.dense for name in kinds if kinds[name] == kind)
            several = [fixed.get("features")]
            if several == [EACH]:
                several = list(kinds)
            elif several == [CATEGORIES]:
                several = ["+".join(name for name in kinds if kinds[name] == CATEGORIES)]
            for features in several:
                one = fixed | ({"features": features} if "features" in fixed else {})
                if one not in result and not (one.get("features") == ALL and not kinds):
                    result.append(one)
        return result


_KNN = grid(shrinkage=(10.0, 100.0), neighbours=(50, 100, 300))
_LAST = grid(last=(None, 50, 20, 10, 5))
_ALS = {"factors": (64,), "regularization": (1.0,), "iterations": (15,)}
_USERS = grid(users=("learned",)) + grid(users=("folded",), regularization=(1.0,), alpha=(1.0, 10.0), last=(None, 20))
_LIGHTFM = {"factors": (64,), "learning_rate": (0.05,)}
_VBPR = {"factors": (64,), "batch": (256,), "learning_rate": (0.005,)}
_EPOCHS = (10, 20, 40, 80)
_BRIEF = (5, 10, 20)
_SASREC = {"dropout": (0.2,), "batch": (32,), "learning_rate": (1e-3,), "heads": (2,), "blocks": (2,)}

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
        "tfrs_tutorial",
        "benchmarks.quality.peers.tfrs_tutorial:fit",
        grid(epochs=(3, 10, 30), batch=(2048,), factors=(32, 64), learning_rate=(0.1,)),
        seeded=True,
    ),
    Peer(
        "sasrec",
        "benchmarks.quality.peers.sasrec:fit",
        grid(factors=(64,), length=(50, 200), kept=(_EPOCHS,), **_SASREC),
        grid(epochs=_EPOCHS),
        needs=("rectools", "torch"),
        seeded=True,
        ordered=True,
    ),
    # For a million events, of which `sasrec`'s 80 epochs at two lengths take a day.
    Peer(
        "sasrec_brief",
        "benchmarks.quality.peers.sasrec:fit",
        grid(factors=(64,), length=(200,), kept=(_BRIEF,), **_SASREC),
        grid(epochs=_BRIEF),
        needs=("rectools", "torch"),
        seeded=True,
        ordered=True,
    ),
)
"""Every peer. A new one is a function and a row."""


def named(names: Iterable[str]) -> tuple[Peer, ...]:
    """The rows of those names, in that order. Raises KeyError."""
    table = {peer.name: peer for peer in PEERS}
    return tuple(table[name] for name in names)
