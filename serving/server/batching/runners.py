"""Running checked requests: each on its own, or batched with others, within their deadlines."""

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
from serving.server.batching.shared_batch_scheduler import BatchTask, SharedBatchScheduler
from serving.server.metrics import ServerMetrics
from serving.server.servable import Servable
from serving.server.status import as_op_error, deadline_exceeded

T = TypeVar("T")
# Names of the inputs with a batch axis; None for requests that cannot be batched.
_BatchedInputs = frozenset[str] | None


class Runner(Protocol):
    """Runs requests whose inputs have been checked against their signature."""

    def run(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        """Compute outputs of a signature.

        Args:
          servable: the caller keeps it loaded until this returns.
          name: name of the signature.
          inputs: every input of the signature.
          outputs: names of the outputs to compute.
          deadline: in seconds on the monotonic clock; None for none.

        Raises:
          tf.errors.OpError: raised by the graph, or DEADLINE_EXCEEDED, or RESOURCE_EXHAUSTED.
        """

    async def run_async(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        """`run` without blocking the event loop."""
        ...

    def close(self) -> None:
        """Finish the requests under way."""


class DirectRunner:
    """Runs the model once per request.

    Args:
      threads: requests that run at the same time; the others wait.
      executor: its threads serve `run_async`.
    """

    def __init__(self, threads: int, executor: Executor) -> None:
        self._semaphore = threading.BoundedSemaphore(threads)
        self._executor = executor

    def run(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        if not self._semaphore.acquire(timeout=_remaining(deadline)):
            raise _too_late()
        try:
            return servable.run(servable.signatures[name], inputs, outputs, timeout=_remaining(deadline))
        finally:
            self._semaphore.release()

    async def run_async(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        work = asyncio.get_running_loop().run_in_executor(
            self._executor, self.run, servable, name, inputs, outputs, deadline
        )
        return await _wait_to_the_end(work)

    def close(self) -> None:
        """Do nothing: every call ends within `run`."""


class BatchingRunner:
    """Runs requests of the same signature in batches; see `serving.server.batching.batches`.

    A batch that fails is run again request by request, so that one bad request does not fail the others.

    Args:
      options: sizes and timeouts of the batches.
      direct: runs the requests that cannot be batched.
      metrics: receives queueing times and batch sizes.
    """

    def __init__(self, options: BatchingOptions, direct: DirectRunner, metrics: ServerMetrics) -> None:
        self._options = options
        self._direct = direct
        self._metrics = metrics
        self._scheduler = SharedBatchScheduler(options)
        self._mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = weakref.WeakKeyDictionary()
        self._batched_inputs: weakref.WeakKeyDictionary[Servable, dict[tuple, _BatchedInputs]] = (
            weakref.WeakKeyDictionary()
        )

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
            # The caller keeps the model loaded only until this returns, so wait for what is still running.
            wait([task.result for task in tasks if not task.result.cancel()])
        return _joined(results)

    async def run_async(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> dict[str, np.ndarray]:
        tasks = self._tasks(servable, name, inputs, outputs, deadline)
        if not tasks:
            return await self._direct.run_async(servable, name, inputs, outputs, deadline)
        mailbox = self._mailbox(asyncio.get_running_loop())
        try:
            self._submit(servable, name, outputs, tasks)
            results = [await mailbox.result(task) for task in tasks]
        finally:
            await mailbox.wait_all([task.result for task in tasks if not task.result.cancel()])
        return _joined(results)

    def _tasks(
        self, servable: Servable, name: str, inputs: Arrays, outputs: Sequence[str], deadline: float | None
    ) -> list[BatchTask]:
        """Turn a request into tasks of at most a batch each; [] if it cannot be batched."""
        batched = self._find_batched_inputs(servable, name, tuple(outputs))
        rows = 0 if batched is None else batching.row_count(inputs, batched)
        if batched is None or rows == 0:
            return []
        self._metrics.input_batch_size.add((), rows)
        part = self._options.max_execution_batch_size
        if not self._options.enable_large_batch_splitting or rows <= part:
            return [BatchTask(inputs, rows, deadline)]
        return [
            BatchTask(
                {alias: a[begin : begin + part] if alias in batched else a for alias, a in inputs.items()},
                min(part, rows - begin),
                deadline,
            )
            for begin in range(0, rows, part)
        ]

    def _submit(self, servable: Servable, name: str, outputs: Sequence[str], tasks: Sequence[BatchTask]) -> None:
        queue = (servable, name, tuple(outputs))
        batched = self._find_batched_inputs(*queue)
        assert batched is not None
        process = partial(self._process, *queue, batched)
        pad_lengths = self._options.pad_variable_length_inputs
        for task in tasks:
            key = batching.batch_key(task.inputs, batched, pad_lengths=pad_lengths, paddable=servable.paddable_inputs)
            self._scheduler.submit(queue, key, task, process)

    def _mailbox(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        if loop not in self._mailboxes:
            self._mailboxes[loop] = Mailbox(loop)
        return self._mailboxes[loop]

    def close(self) -> None:
        """Finish the waiting batches, then end the threads."""
        self._scheduler.close()

    def _find_batched_inputs(self, servable: Servable, name: str, outputs: tuple[str, ...]) -> _BatchedInputs:
        cached = self._batched_inputs.setdefault(servable, {})
        key = (name, outputs)
        if key not in cached:
            cached[key] = batching.batched_inputs(servable.signatures[name], outputs)
        return cached[key]

    def _process(
        self, servable: Servable, name: str, outputs: Sequence[str], batched: frozenset[str], tasks: list[BatchTask]
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
            results = self._run_batch(servable, name, outputs, batched, ready)
        except Exception as error:
            if len(ready) == 1:
                ready[0].result.set_exception(as_op_error(error))
                return
            for task in ready:
                self._run_single(servable, name, outputs, batched, task)
            return
        for task, result in zip(ready, results, strict=True):
            task.result.set_result(result)

    def _run_batch(
        self, servable: Servable, name: str, outputs: Sequence[str], batched: frozenset[str], tasks: list[BatchTask]
    ) -> list[dict[str, np.ndarray]]:
        rows = [task.rows for task in tasks]
        size = batching.rounded_up(sum(rows), self._options.allowed_batch_sizes)
        self._metrics.processed_batch_size.add((), size)
        self._metrics.padding_size.add((str(size),), size - sum(rows))
        merged = batching.merge(
            [task.inputs for task in tasks],
            batched,
            pad_lengths=self._options.pad_variable_length_inputs,
            paddable=servable.paddable_inputs,
            size=size,
        )
        deadlines = [task.deadline for task in tasks if task.deadline is not None]
        # The batch may take as long as the latest deadline of its requests.
        latest = max(deadlines) if len(deadlines) == len(tasks) else None
        computed = servable.run(servable.signatures[name], merged, outputs, timeout=_remaining(latest))
        return batching.split(computed, rows, size)

    def _run_single(
        self, servable: Servable, name: str, outputs: Sequence[str], batched: frozenset[str], task: BatchTask
    ) -> None:
        try:
            task.result.set_result(self._run_batch(servable, name, outputs, batched, [task])[0])
        except Exception as error:
            task.result.set_exception(as_op_error(error))


def _joined(results: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(results) == 1:
        return results[0]
    return {alias: np.concatenate([result[alias] for result in results]) for alias in results[0]}


async def _wait_to_the_end(work: asyncio.Future[T]) -> T:
    """Wait for a thread's work even if cancelled: the model that it uses must stay loaded until then."""
    try:
        return await asyncio.shield(work)
    finally:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])


def _result(task: BatchTask) -> dict[str, Any]:
    try:
        return task.result.result(timeout=_remaining(task.deadline))
    except FutureTimeoutError:
        raise _too_late() from None


def _remaining(deadline: float | None) -> float | None:
    """Seconds left; None for no deadline. Raises DeadlineExceededError if none are left."""
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _too_late()
    return seconds


def _too_late() -> tf.errors.DeadlineExceededError:
    return deadline_exceeded("Run() timeout exceeded while waiting for its turn")
