"""Encodes the features of items or users on several processes or threads, in order and with bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.build.feature_table import Entities
from tfrecs.errors import DataError
from tfrecs.kinds.base import Feature
from tfrecs.rejects import Rejects

# Rows handed to a worker at a time, and batches per worker that may wait for their turn to be written: together the
# bound on how many encoded pictures are in memory at one time.
_BATCH = 16
_WAITING = 4

Rows = list[list[Any]]


@dataclass(frozen=True)
class Encoded:
    """The result for one value.

    Attributes:
      payload: None where the value is missing or was refused.
      fault: why it was refused, or None.
      notes: in what respect it could be used in part only.
    """

    payload: tf.train.Feature | None
    fault: str | None = None
    notes: tuple[str, ...] = ()


Encode = Callable[[Entities, Rejects], Iterator[dict[str, tf.train.Feature]]]


@contextmanager
def encoder(features: Sequence[Feature], *, workers: int, processes: bool) -> Iterator[Encode]:
    """Provide a function that encodes entities: (entities, rejects) -> payloads by feature name, in order.

    A value that its kind refuses is rejected and gets the payload of a missing one. The bytes do not depend on the
    number or sort of the workers.

    Args:
      features: of all entities that will be encoded.
      workers: number of workers.
      processes: whether workers are processes, which take seconds to start, instead of threads, of which only one at a
        time runs Python. Processes are spawned, because TensorFlow's threads do not survive a fork.

    Raises:
      DataError: (from the function) a process was ended from outside.
    """
    if workers <= 1:
        yield partial(_encode_all, features, None, partial(encode_rows, features), workers)
    elif processes:
        context = multiprocessing.get_context("spawn")
        pool: Executor = ProcessPoolExecutor(workers, context, _start_process, (tuple(features),))
        with _ended(pool):
            yield partial(_encode_all, features, pool, _encode_in_process, workers)
    else:
        with _ended(ThreadPoolExecutor(workers)) as threads:
            yield partial(_encode_all, features, threads, partial(encode_rows, features), workers)


@contextmanager
def _ended(pool: Executor) -> Iterator[Executor]:
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def encode_rows(features: Sequence[Feature], rows: Rows) -> list[list[Encoded]]:
    """Encode raw values [rows][features]."""
    return [[_encode(feature, value) for feature, value in zip(features, row, strict=True)] for row in rows]


_features: tuple[Feature, ...] = ()  # Of this worker process: sent once, not with every batch.


def _start_process(features: tuple[Feature, ...]) -> None:
    global _features
    _features = features
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the others.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """End this worker with its parent: a parent that is killed cannot end its workers, which would wait for ever."""
    wait([sentinel])
    os._exit(1)


def _encode_in_process(rows: Rows) -> list[list[Encoded]]:
    return encode_rows(_features, rows)


def _encode(feature: Feature, value: Any) -> Encoded:
    if value is None:
        return Encoded(None)
    notes: list[str] = []
    try:
        return Encoded(feature.encode(value, notes.append), notes=tuple(notes))
    except DataError as error:
        return Encoded(None, fault=" ".join(str(error).split()))


def _encode_all(
    features: Sequence[Feature],
    pool: Executor | None,
    function: Callable[[Rows], list[list[Encoded]]],
    workers: int,
    entities: Entities,
    rejects: Rejects,
) -> Iterator[dict[str, tf.train.Feature]]:
    missing = {feature.name: feature.encode(None) for feature in features}
    count = len(entities.ids)
    batches = (
        [[_plain(entities.values[feature.name][at]) for feature in features] for at in range(start, stop)]
        for start, stop in ((start, min(start + _BATCH, count)) for start in range(0, count, _BATCH))
    )
    position = 0
    try:
        for rows in _in_order(function, batches, pool, workers):
            for row in rows:
                encoded = {feature.name: value for feature, value in zip(features, row, strict=True)}
                _report(entities, position, encoded, rejects)
                yield {
                    name: missing[name] if value.payload is None else value.payload for name, value in encoded.items()
                }
                position += 1
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that encoded {entities.table.name} was ended from outside (out of memory?); "
            "build with --set build.workers=1"
        ) from error


def _plain(value: Any) -> Any:
    """Copy a row of a memory-mapped matrix, so that it can be sent to another process."""
    return np.array(value) if isinstance(value, np.memmap) else value


def _report(entities: Entities, position: int, encoded: Mapping[str, Encoded], rejects: Rejects) -> None:
    for name, value in encoded.items():
        source: dict[str, Any] = {"id": entities.ids[position], "feature": name}
        if value.payload is not None or value.fault is not None:
            rejects.seen(f"{entities.table.files[position]} {name}", 1)
        if value.fault is not None:
            reason = f"{name}: cannot be encoded"
            rejects.add(entities.table.rejected(position, reason, detail=value.fault, **source))
        for note in value.notes:
            reason = f"{name}: used in part"
            rejects.add(entities.table.rejected(position, reason, detail=note, kept=True, **source))


def _in_order(
    function: Callable[[Rows], list[list[Encoded]]], batches: Iterator[Rows], pool: Executor | None, workers: int
) -> Iterator[list[list[Encoded]]]:
    """Yield `function(batch)` in the order of the batches, with a bounded number of results in memory."""
    if pool is None:
        yield from map(function, batches)
        return
    waiting: deque[Future[list[list[Encoded]]]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(function, batch))
            if len(waiting) >= workers * _WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
