"""Lists of many users through the `recommend` signature of an export, as tables of one row per user and rank."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from pipelines.config.running import RecommendConfig
from serving.graph import contract
from serving.server.servable import load
from serving.wire import layout
from tfrecs.errors import DataError
from tfrecs.reading.known_events import KnownEvents

HISTORY_INPUTS = ("history_ids", "history_values", "history_times")
_FOR_ALL = frozenset({"now", "query", "exclude_ids", "categories", "diversity"})
_EXPLANATIONS = ("modality_weights", "because_ids")
_MOST_EVENTS = 1 << 20  # of the histories in a call, padding included


@dataclass(frozen=True)
class ListOptions:
    """What is asked for all users alike; the fields but `explain` and `context` are inputs of `recommend`.

    Attributes:
      k: items in a list.
      now: unix seconds of the request; 0 = unknown.
      query: a text that the items should match; "" = none.
      exclude_ids: items for nobody.
      categories: only items in one of these; none = all.
      diversity: 0 (relevance alone) to 1.
      context: further inputs of the export: name -> value.
      explain: whether the lists say why.
    """

    k: int
    now: int = 0
    query: str = ""
    exclude_ids: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    diversity: float = 0.0
    context: Mapping[str, str | float] = field(default_factory=dict)
    explain: bool = False


class Lister:
    """A loaded export.

    Args:
      model: folder of the model.
      version: of the export.

    Attributes:
      folder, version: of the export.
      items: size of its catalogue; None where it does not say.
      specs: input -> TensorInfo of its `recommend`.
      has_search: whether it takes texts.
      labels: predictions of the ranking head, by name.

    Raises:
      DataError: it cannot be loaded, or has no such signature.
    """

    def __init__(self, model: Path, version: int):
        self.folder, self.version = model / str(version), version
        try:
            self._servable = load(self.folder, model.name, version)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise DataError(f"{self.folder}: cannot be loaded ({first_line(error)}); export it again") from error
        self._signature = self._servable.signatures.get(contract.RECOMMEND)
        if self._signature is None or not {*HISTORY_INPUTS, "k"} <= set(self._signature.inputs):
            raise DataError(
                f"{self.folder}: no signature {contract.RECOMMEND} as Triptych exports it; name a model that "
                "`triptych export` made"
            )
        description = layout.description(self.folder)
        self.items: int | None = description.get("items")
        self._modalities = description.get("modalities", [])
        self.specs = dict(self._signature.inputs)
        self.has_search = contract.SEARCH in self._servable.signatures
        self.labels = sorted(set(self._signature.outputs) - {"ids", "scores", *_EXPLANATIONS})

    def schema(self, explain: bool) -> pa.Schema:
        """Return the columns of the lists."""
        columns = {"user_id": pa.string(), "rank": pa.int32(), "item_id": pa.string(), "score": pa.float32()}
        columns |= dict.fromkeys(self.labels, pa.float32())
        if explain:
            columns["because_id"] = pa.string()
            columns |= {f"weight_{name}": pa.float32() for name in self._modalities}
        return pa.schema([pa.field(name, kind) for name, kind in columns.items()])

    def fingerprint(self) -> list[Any]:
        """Tell this export from another one of the same name and version."""
        files = [self.folder / "saved_model.pb", *sorted((self.folder / "variables").glob("*"))]
        return [[str(self.folder.resolve()), file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]

    def lists(
        self,
        users: KnownEvents,
        options: ListOptions,
        settings: RecommendConfig,
        advance: Callable[[int], None] = lambda done: None,
    ) -> pa.Table:
        """Return the lists of some users, in their order, best items first; a list ends where no item is left.

        Users are put into the same batches whatever the number of threads, so that the same users get the same numbers.
        `advance` is called with the number of users who are done.

        Raises:
          DataError: the export refuses the requests.
        """
        batches, events = self.batches(users, settings), padded(users)
        try:
            with ThreadPoolExecutor(settings.threads or os.cpu_count() or 1) as pool:
                parts, done = [], 0
                for part in pool.map(lambda batch: self._answers(events, batch, options), batches):
                    parts.append(part)
                    done += len(batches[len(parts) - 1])
                    advance(done)
        except tf.errors.InvalidArgumentError as error:
            raise DataError(f"{self.folder}: refused the requests: {first_line(error)}") from error
        whole = pa.concat_tables(parts)
        # Those of a user come from one batch, where they are best first.
        whole = whole.take(pa.array(np.argsort(whole.column("user").to_numpy(), kind="stable")))
        names = pa.array(users.user_ids, pa.string()).take(whole.column("user").combine_chunks())
        return whole.set_column(0, "user_id", names).cast(self.schema(options.explain))

    def batches(self, users: KnownEvents, settings: RecommendConfig) -> list[np.ndarray]:
        """Return the positions of users who share a call: with histories of about the same length, the longest first."""
        rows = min(settings.batch_size, max(1, settings.scores // max(self.items or 1, 1)))
        lengths, start, batches = users.lengths, 0, []
        order = np.argsort(-lengths, kind="stable")
        while start < len(order):
            longest = max(1, int(lengths[order[start]]))
            batches.append(order[start : start + max(1, min(rows, _MOST_EVENTS // longest))])
            start += len(batches[-1])
        return batches

    def _answers(self, users: KnownEvents, batch: np.ndarray, options: ListOptions) -> pa.Table:
        outputs = ["ids", "scores", *self.labels, *(_EXPLANATIONS if options.explain else ())]
        answer = self.run(self.inputs(users, batch, options), outputs)
        there = answer["scores"] > -np.inf
        row, rank = np.nonzero(there)
        columns: dict[str, Any] = {
            "user": pa.array(batch[row]),
            "rank": pa.array(rank + 1, pa.int32()),
            "item_id": _texts(answer["ids"][there]),
            "score": pa.array(answer["scores"][there]),
        }
        columns |= {name: pa.array(answer[name][there], from_pandas=True) for name in self.labels}
        if options.explain:
            columns["because_id"] = _texts(answer["because_ids"][there])
            weights = answer["modality_weights"][there]
            columns |= {f"weight_{name}": pa.array(weights[:, at]) for at, name in enumerate(self._modalities)}
        return pa.table(columns)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
        """Call the signature. Raises tf.errors.OpError."""
        return self._servable.run(self._signature, inputs, outputs)

    def inputs(self, users: KnownEvents, batch: np.ndarray, options: ListOptions) -> dict[str, np.ndarray]:
        """Return the inputs of `recommend` for some users, every event of each among them.

        Args:
          users: as `padded` returns them.
          batch: positions of the users.
          options: what is asked for.
        """
        lengths, starts = users.lengths[batch], users.starts[batch]
        column = np.arange(max(1, int(lengths.max(initial=0))))
        inside = column < lengths[:, None]
        event = np.where(inside, starts[:, None] + column, -1)
        given: dict[str, np.ndarray] = {
            "history_ids": users.item_ids[users.items[event]],
            "history_values": users.values[event],
            "history_times": users.times[event],
            "k": np.full(len(batch), options.k, np.int32),
        }
        if not self.specs["k"].tensor_shape.dim:  # an export of contract 1
            given["k"] = np.array(options.k, np.int32)
        for name, spec in self.specs.items():
            if name in users.inputs:
                given[name] = users.inputs[name][batch]
            elif name not in given:
                given[name] = _constant(name, spec, options, len(batch))
        return given


def padded(users: KnownEvents) -> KnownEvents:
    """Return the users with one more event behind all others, which is padding."""
    return replace(
        users,
        items=np.append(users.items, np.int32(len(users.item_ids))),
        values=np.append(users.values, np.float32(0)),
        times=np.append(users.times, np.int64(0)),
        item_ids=np.append(users.item_ids, b""),
    )


def _constant(name: str, spec: Any, options: ListOptions, rows: int) -> np.ndarray:
    """An input with the same value in each row, "" or NaN where none is asked for."""
    dtype = tf.as_dtype(spec.dtype)
    value = getattr(options, name) if name in _FOR_ALL else options.context.get(name)
    sizes = [dim.size for dim in spec.tensor_shape.dim[1:]]
    if isinstance(value, tuple):
        wide = np.empty([rows, len(value)], object)
        wide[:] = [part.encode() for part in value]
        return wide
    if dtype == tf.string:
        return np.full([rows, *(1 if size < 0 else size for size in sizes)], str(value or "").encode(), object)
    neutral = 0 if dtype.is_integer else np.nan
    return np.full([rows, *sizes], neutral if value is None else value, dtype.as_numpy_dtype)


def _texts(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.binary()).cast(pa.string())


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(getattr(error, "message", "")) or str(error)).strip().split("\n")[0]
