"""Queues of batches shared by a pool of threads, as TensorFlow's SharedBatchScheduler.

A task joins the open batch of its queue and key; a free thread takes the oldest batch that is full or has waited long
enough. With a timeout of 0, a batch is taken as soon as a thread is free, and grows only while all threads are busy.
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
class BatchTask:
    """One request, or part of one, in a batch.

    Attributes:
      inputs: its arrays.
      rows: number of rows.
      deadline: in seconds on the monotonic clock; None for none.
      width: columns of its outputs; None for as many as the batch has.
      result: receives the outputs or the error.
      enqueued: creation time on the monotonic clock.
    """

    inputs: Arrays
    rows: int
    deadline: float | None
    width: int | None = None
    result: Future[dict[str, Any]] = field(default_factory=Future)
    enqueued: float = field(default_factory=time.monotonic)


@dataclass
class _Batch:
    kind: tuple[Hashable, Hashable]
    process: Callable[[list[BatchTask]], None]
    opened: float
    tasks: list[BatchTask] = field(default_factory=list)
    rows: int = 0
    closed: bool = False


class SharedBatchScheduler:
    """Collects tasks into batches and processes them in its own threads."""

    def __init__(self, options: BatchingOptions) -> None:
        self._options = options
        self._changed = threading.Condition()  # guards everything below
        self._waiting: deque[_Batch] = deque()
        self._open: dict[tuple[Hashable, Hashable], _Batch] = {}
        self._lengths: Counter[Hashable] = Counter()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run_thread, name=f"batch-{number}", daemon=True)
            for number in range(options.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, queue: Hashable, key: Hashable, task: BatchTask, process: Callable[[list[BatchTask]], None]
    ) -> None:
        """Add a task to the open batch of its queue and key.

        Args:
          queue: `max_enqueued_batches` limits each queue.
          key: tasks of a queue share a batch if their keys are equal.
          task: its future is completed by `process`.
          process: called in a batch thread with the tasks of a batch; must complete every future and must not raise.

        Raises:
          InvalidArgumentError: the task is larger than a batch.
          ResourceExhaustedError: the queue is full. (TensorFlow Serving answers UNAVAILABLE, which makes clients retry
            at once and so loads a full server even more.)
          UnavailableError: the scheduler is closed.
        """
        max_rows = self._options.max_batch_size
        if task.rows > max_rows:
            raise invalid(f"Task size {task.rows} is larger than maximum input batch size {max_rows}")
        kind = (queue, key)
        with self._changed:
            if self._closing:
                raise tf.errors.UnavailableError(None, None, "the server is stopping")
            batch = self._open.get(kind)
            if batch is None or batch.rows + task.rows > max_rows:
                if self._lengths[queue] >= self._options.max_enqueued_batches:
                    raise resource_exhausted("The batch scheduling queue to which this task was submitted is full")
                if batch is not None:
                    batch.closed = True
                batch = self._open[kind] = _Batch(kind, process, time.monotonic())
                self._waiting.append(batch)
                self._lengths[queue] += 1
            batch.tasks.append(task)
            batch.rows += task.rows
            if batch.rows >= max_rows:
                batch.closed = True
                del self._open[kind]
            self._changed.notify()

    def close(self) -> None:
        """Refuse new tasks, finish the waiting ones, and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run_thread(self) -> None:
        while (batch := self._next()) is not None:
            batch.process(batch.tasks)

    def _next(self) -> _Batch | None:
        timeout = self._options.batch_timeout_micros / 1e6
        with self._changed:
            while True:
                now = time.monotonic()
                for batch in self._waiting:
                    if batch.closed or self._closing or now - batch.opened >= timeout:
                        return self._take(batch)
                if self._closing:
                    return None
                opened = min((batch.opened for batch in self._waiting), default=None)
                self._changed.wait(None if opened is None else max(0.0, opened + timeout - now))

    def _take(self, batch: _Batch) -> _Batch:
        self._waiting.remove(batch)
        self._lengths[batch.kind[0]] -= 1
        if not self._lengths[batch.kind[0]]:
            del self._lengths[batch.kind[0]]
        if self._open.get(batch.kind) is batch:
            del self._open[batch.kind]
        return batch
