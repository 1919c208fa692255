"""Queues of batches and the threads that work on them, as TensorFlow's SharedBatchScheduler.

A request joins the open batch of its kind; a free thread takes the oldest batch that is full or has waited long enough.
With a timeout of 0, a batch is taken as soon as a thread is free, and grows only while all threads are busy.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from serving.server.batching.batches import Arrays, BatchingOptions
from serving.server.status import invalid, resource_exhausted


@dataclass
class Task:
    """One request in a batch.

    Attributes:
      inputs: its arrays.
      rows: of it.
      deadline: on the monotonic clock, in seconds; None for none.
      result: gets the outputs or the error.
      enqueued: when it was made, on the monotonic clock.
    """

    inputs: Arrays
    rows: int
    deadline: float | None
    result: Future[dict[str, Any]] = field(default_factory=Future)
    enqueued: float = field(default_factory=time.monotonic)


@dataclass
class _Batch:
    kind: tuple[Hashable, Hashable]
    work: Callable[[list[Task]], None]
    opened: float
    tasks: list[Task] = field(default_factory=list)
    rows: int = 0
    closed: bool = False


class BatchScheduler:
    """Collects tasks into batches and has them worked on in threads of its own."""

    def __init__(self, options: BatchingOptions) -> None:
        self._options = options
        self._changed = threading.Condition()  # guards everything below
        self._waiting: deque[_Batch] = deque()
        self._open: dict[tuple[Hashable, Hashable], _Batch] = {}
        self._lengths: Counter[Hashable] = Counter()
        self._ending = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"batch-{number}", daemon=True)
            for number in range(options.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, queue: Hashable, key: Hashable, task: Task, work: Callable[[list[Task]], None]) -> None:
        """Puts a task into the open batch of its kind.

        Args:
          queue: what `max_enqueued_batches` counts for.
          key: tasks of a queue share a batch where these are equal.
          task: fails with an error or gets its result from `work`.
          work: called in a batch thread with the tasks of a batch; must complete each one's future, and must not raise.

        Raises:
          InvalidArgumentError: the task is larger than a batch.
          ResourceExhaustedError: the queue is full. (TensorFlow Serving says UNAVAILABLE, on which clients try again
            at once; a server that is full wants the opposite.)
          UnavailableError: the scheduler is closed.
        """
        largest = self._options.max_batch_size
        if task.rows > largest:
            raise invalid(f"Task size {task.rows} is larger than maximum input batch size {largest}")
        kind = (queue, key)
        with self._changed:
            if self._ending:
                raise tf.errors.UnavailableError(None, None, "the server is stopping")
            batch = self._open.get(kind)
            if batch is None or batch.rows + task.rows > largest:
                if self._lengths[queue] >= self._options.max_enqueued_batches:
                    raise resource_exhausted("The batch scheduling queue to which this task was submitted is full")
                if batch is not None:
                    batch.closed = True
                batch = self._open[kind] = _Batch(kind, work, time.monotonic())
                self._waiting.append(batch)
                self._lengths[queue] += 1
            batch.tasks.append(task)
            batch.rows += task.rows
            if batch.rows >= largest:
                batch.closed = True
                del self._open[kind]
            self._changed.notify()

    def close(self) -> None:
        """Refuses new tasks, finishes those it has, and ends its threads."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (batch := self._next()) is not None:
            batch.work(batch.tasks)

    def _next(self) -> _Batch | None:
        patience = self._options.batch_timeout_micros / 1e6
        with self._changed:
            while True:
                now = time.monotonic()
                for batch in self._waiting:
                    if batch.closed or self._ending or now - batch.opened >= patience:
                        return self._take(batch)
                if self._ending:
                    return None
                opened = min((batch.opened for batch in self._waiting), default=None)
                self._changed.wait(None if opened is None else max(0.0, opened + patience - now))

    def _take(self, batch: _Batch) -> _Batch:
        self._waiting.remove(batch)
        self._lengths[batch.kind[0]] -= 1
        if not self._lengths[batch.kind[0]]:
            del self._lengths[batch.kind[0]]
        if self._open.get(batch.kind) is batch:
            del self._open[batch.kind]
        return batch
