"""How a checked request reaches the model: directly, or in a batch with others. Deadlines are kept here."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Executor, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from serving.server.batching import batches as batching
from serving.server.batching.batches import Arrays, BatchingOptions
from serving.server.batching.mailbox import Mailbox
from serving.server.batching.scheduler import BatchScheduler, Task
from serving.server.metrics import Metrics
from serving.server.servable import Servable
from serving.server.status import as_op_error, deadline_exceeded

T = TypeVar("T")
# The inputs with a batch axis; None for requests that are not batched.
_Plan = frozenset[str] | None


class Runner(Protocol):
    """Runs a request whose inputs have been checked against its signature."""

    def run(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        """Args:
          servable: kept loaded by the caller until this returns.
          name: of the signature.
          inputs: input name -> array, every input of the signature.
          outputs: names of the outputs to compute.
          deadline: on the monotonic clock, in seconds; None for none.

        Raises:
          tf.errors.OpError: what the graph raised; DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED.
        """

    async def run_soon(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        """`run` for an event loop, which stays free meanwhile."""
        ...

    def close(self) -> None:
        """Finishes what was begun."""


class DirectRunner:
    """Each request is a call of its own.

    Args:
      threads: how many run at the same time; the others wait for their turn.
      executor: where those of an event loop wait and run.
    """

    def __init__(self, threads: int, executor: Executor) -> None:
        self._turns = threading.BoundedSemaphore(threads)
        self._executor = executor

    def run(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        if not self._turns.acquire(timeout=_remaining(deadline)):
            raise _too_late()
        try:
            return servable.run(servable.signatures[name], inputs, outputs, timeout=_remaining(deadline))
        finally:
            self._turns.release()

    async def run_soon(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        work = asyncio.get_running_loop().run_in_executor(
            self._executor, self.run, servable, name, inputs, outputs, deadline
        )
        return await _to_its_end(work)

    def close(self) -> None:
        """Nothing to finish: every call ends within `run`."""


class BatchingRunner:
    """Requests of the same signature share calls; see `serving.server.batching.batches` for which.

    A batch that fails is run again request by request, so that a request answers for its own mistakes only.

    Args:
      options: of the batches.
      direct: takes the requests that cannot be batched.
      metrics: gets queueing times and batch sizes.
    """

    def __init__(self, options: BatchingOptions, direct: DirectRunner, metrics: Metrics) -> None:
        self._options = options
        self._direct = direct
        self._metrics = metrics
        self._scheduler = BatchScheduler(options)
        self._mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = weakref.WeakKeyDictionary()
        self._plans: weakref.WeakKeyDictionary[Servable, dict[tuple, _Plan]] = weakref.WeakKeyDictionary()

    def run(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        tasks = self._tasks(servable, name, inputs, outputs, deadline)
        if not tasks:
            return self._direct.run(servable, name, inputs, outputs, deadline)
        try:
            self._submit(servable, name, outputs, tasks)
            results = [_result(task) for task in tasks]
        finally:
            # Whatever is still being computed needs the model, which the caller keeps loaded only until this returns.
            wait([task.result for task in tasks if not task.result.cancel()])
        return _joined(results)

    async def run_soon(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        tasks = self._tasks(servable, name, inputs, outputs, deadline)
        if not tasks:
            return await self._direct.run_soon(servable, name, inputs, outputs, deadline)
        mailbox = self._mailbox(asyncio.get_running_loop())
        try:
            self._submit(servable, name, outputs, tasks)
            results = [await mailbox.result(task) for task in tasks]
        finally:
            await mailbox.ends([task.result for task in tasks if not task.result.cancel()])
        return _joined(results)

    def _tasks(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> list[Task]:
        """A request as a task, or as several that a batch can hold; none where it cannot be batched."""
        batched = self._plan(servable, name, tuple(outputs))
        rows = 0 if batched is None else batching.row_count(inputs, batched)
        if batched is None or rows == 0:
            return []
        self._metrics.input_batch_size.add((), rows)
        piece = self._options.max_execution_batch_size
        if not self._options.enable_large_batch_splitting or rows <= piece:
            return [Task(inputs, rows, deadline)]
        return [
            Task(
                {alias: a[begin : begin + piece] if alias in batched else a for alias, a in inputs.items()},
                min(piece, rows - begin),
                deadline,
            )
            for begin in range(0, rows, piece)
        ]

    def _submit(self, servable: Servable, name: str, outputs: Sequence[str], tasks: Sequence[Task]) -> None:
        queue = (servable, name, tuple(outputs))
        batched = self._plan(*queue)
        assert batched is not None
        work = partial(self._work, *queue, batched)
        padded = self._options.pad_variable_length_inputs
        for task in tasks:
            key = batching.batch_key(task.inputs, batched, padded=padded, blank=servable.blank_inputs)
            self._scheduler.submit(queue, key, task, work)

    def _mailbox(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        if loop not in self._mailboxes:
            self._mailboxes[loop] = Mailbox(loop)
        return self._mailboxes[loop]

    def close(self) -> None:
        """Finishes the batches that wait, then ends the threads."""
        self._scheduler.close()

    def _plan(self, servable: Servable, name: str, outputs: tuple[str, ...]) -> _Plan:
        plans = self._plans.setdefault(servable, {})
        key = (name, outputs)
        if key not in plans:
            plans[key] = batching.batched_inputs(servable.signatures[name], outputs)
        return plans[key]

    def _work(
        self, servable: Servable, name: str, outputs: Sequence[str], batched: frozenset[str], tasks: list[Task]
    ) -> None:
        now = time.monotonic()
        ready = []
        for task in tasks:
            self._metrics.queuing_latency.add((self._options.thread_pool_name,), (now - task.enqueued) * 1e6)
            if not task.result.set_running_or_notify_cancel():
                continue
            if task.deadline is not None and task.deadline <= now:
                task.result.set_exception(_too_late())
            else:
                ready.append(task)
        if not ready:
            return
        try:
            results = self._together(servable, name, outputs, batched, ready)
        except Exception as error:
            if len(ready) == 1:
                ready[0].result.set_exception(as_op_error(error))
                return
            for task in ready:
                self._alone(servable, name, outputs, batched, task)
            return
        for task, result in zip(ready, results, strict=True):
            task.result.set_result(result)

    def _together(
        self, servable: Servable, name: str, outputs: Sequence[str], batched: frozenset[str], tasks: list[Task]
    ) -> list[dict[str, np.ndarray]]:
        rows = [task.rows for task in tasks]
        size = batching.rounded_up(sum(rows), self._options.allowed_batch_sizes)
        self._metrics.processed_batch_size.add((), size)
        self._metrics.padding_size.add((str(size),), size - sum(rows))
        merged = batching.merge(
            [task.inputs for task in tasks],
            batched,
            padded=self._options.pad_variable_length_inputs,
            blank=servable.blank_inputs,
            size=size,
        )
        deadlines = [task.deadline for task in tasks if task.deadline is not None]
        # The batch has as long as the most patient of its requests.
        latest = max(deadlines) if len(deadlines) == len(tasks) else None
        computed = servable.run(servable.signatures[name], merged, outputs, timeout=_remaining(latest))
        return batching.split(computed, rows, size)

    def _alone(
        self, servable: Servable, name: str, outputs: Sequence[str], batched: frozenset[str], task: Task
    ) -> None:
        try:
            task.result.set_result(self._together(servable, name, outputs, batched, [task])[0])
        except Exception as error:
            task.result.set_exception(as_op_error(error))


def _joined(results: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(results) == 1:
        return results[0]
    return {alias: np.concatenate([result[alias] for result in results]) for alias in results[0]}


async def _to_its_end(work: asyncio.Future[T]) -> T:
    """Waits for a thread's work even where this is cancelled: the model that it uses must not be freed before."""
    try:
        return await asyncio.shield(work)
    finally:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])


def _result(task: Task) -> dict[str, Any]:
    try:
        return task.result.result(timeout=_remaining(task.deadline))
    except FutureTimeoutError:
        raise _too_late() from None


def _remaining(deadline: float | None) -> float | None:
    """Seconds left; None for no deadline. Raises DeadlineExceededError where none are left."""
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _too_late()
    return seconds


def _too_late() -> tf.errors.DeadlineExceededError:
    return deadline_exceeded("Run() timeout exceeded while waiting for its turn")
