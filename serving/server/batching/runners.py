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
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from serving.server.batching import batches as batching
from serving.server.batching.batches import Arrays, BatchingOptions
from serving.server.batching.mailbox import Mailbox
from serving.server.batching.shared_batch_scheduler import BatchTask, SharedBatchScheduler
from serving.server.metrics import ServerMetrics
from serving.server.servable import Servable, SignatureKey
from serving.server.status import as_op_error, deadline_exceeded

T = TypeVar("T")


@dataclass(frozen=True)
class PredictCall:
    """A call of the model whose inputs have been checked against the signature.

    Attributes:
      servable: the version; whoever runs the call keeps it loaded until the result is there.
      signature: names the signature, or several that are called as one; see `Servable.signature`.
      inputs: every input of the signature.
      outputs: names of the outputs to compute.
      deadline: in seconds on the monotonic clock; None for none.
    """

    servable: Servable
    signature: SignatureKey
    inputs: Arrays
    outputs: tuple[str, ...]
    deadline: float | None


class Runner(Protocol):
    """Runs calls of the model."""

    def run(self, call: PredictCall) -> dict[str, np.ndarray]:
        """Compute the outputs of a call.

        Raises:
          tf.errors.OpError: raised by the graph, or DEADLINE_EXCEEDED, or RESOURCE_EXHAUSTED.
        """

    async def run_async(self, call: PredictCall) -> dict[str, np.ndarray]:
        """`run` without blocking the event loop."""
        ...

    def close(self) -> None:
        """Finish the calls under way."""


class DirectRunner:
    """Runs the model once per request.

    Args:
      threads: calls that run at the same time; the others wait.
      executor: its threads serve `run_async`.
    """

    def __init__(self, threads: int, executor: Executor) -> None:
        self._semaphore = threading.BoundedSemaphore(threads)
        self._executor = executor

    def run(self, call: PredictCall) -> dict[str, np.ndarray]:
        if not self._semaphore.acquire(timeout=_remaining(call.deadline)):
            raise _too_late()
        try:
            signature = call.servable.signature(call.signature)
            return call.servable.run(signature, call.inputs, call.outputs, timeout=_remaining(call.deadline))
        finally:
            self._semaphore.release()

    async def run_async(self, call: PredictCall) -> dict[str, np.ndarray]:
        return await _wait_to_the_end(asyncio.get_running_loop().run_in_executor(self._executor, self.run, call))

    def close(self) -> None:
        """Do nothing: every call ends within `run`."""


class _Queue(NamedTuple):
    """Calls that may be batched: a signature, the requested outputs, and the inputs with a batch axis."""

    servable: Servable
    signature: SignatureKey
    outputs: tuple[str, ...]
    batched: frozenset[str]


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
        # Per servable: (signature, outputs) -> names of the inputs with a batch axis, None if it cannot be batched.
        self._batched_inputs: weakref.WeakKeyDictionary[Servable, dict[tuple, frozenset[str] | None]] = (
            weakref.WeakKeyDictionary()
        )

    def run(self, call: PredictCall) -> dict[str, np.ndarray]:
        queue = self._queue(call)
        if queue is None:
            return self._direct.run(call)
        tasks = self._split(call, queue.batched)
        try:
            self._submit(queue, tasks)
            results = [_result(task) for task in tasks]
        finally:
            # The caller keeps the model loaded only until this returns, so wait for what is still running.
            wait([task.result for task in tasks if not task.result.cancel()])
        return _joined(results)

    async def run_async(self, call: PredictCall) -> dict[str, np.ndarray]:
        queue = self._queue(call)
        if queue is None:
            return await self._direct.run_async(call)
        tasks = self._split(call, queue.batched)
        mailbox = self._mailbox(asyncio.get_running_loop())
        try:
            self._submit(queue, tasks)
            results = [await mailbox.result(task) for task in tasks]
        finally:
            await mailbox.wait_all([task.result for task in tasks if not task.result.cancel()])
        return _joined(results)

    def close(self) -> None:
        """Finish the waiting batches, then end the threads."""
        self._scheduler.close()

    def _queue(self, call: PredictCall) -> _Queue | None:
        """The queue of a call; None if it cannot be batched, has no rows, or would have to be split and cannot be."""
        cached = self._batched_inputs.setdefault(call.servable, {})
        key = (call.signature, call.outputs)
        if key not in cached:
            cached[key] = batching.batched_inputs(call.servable.signature(call.signature), call.outputs)
        batched = cached[key]
        if batched is None:
            return None
        rows = batching.row_count(call.inputs, batched)
        if not rows or (self._is_split(rows) and call.servable.own_export and not batching.is_divisible(call.inputs)):
            return None
        return _Queue(call.servable, call.signature, call.outputs, batched)

    def _split(self, call: PredictCall, batched: frozenset[str]) -> list[BatchTask]:
        """Turn a call into tasks of at most a batch each."""
        rows = batching.row_count(call.inputs, batched)
        self._metrics.input_batch_size.add((), rows)
        part = self._options.max_execution_batch_size
        width = batching.result_width(call.inputs) if call.servable.own_export else None
        if not self._is_split(rows):
            return [BatchTask(call.inputs, rows, call.deadline, width)]
        return [
            BatchTask(
                {alias: a[begin : begin + part] if alias in batched else a for alias, a in call.inputs.items()},
                min(part, rows - begin),
                call.deadline,
                width,
            )
            for begin in range(0, rows, part)
        ]

    def _is_split(self, rows: int) -> bool:
        return self._options.enable_large_batch_splitting and rows > self._options.max_execution_batch_size

    def _submit(self, queue: _Queue, tasks: Sequence[BatchTask]) -> None:
        paddable, pad_lengths = queue.servable.paddable_inputs, self._options.pad_variable_length_inputs
        process = partial(self._process, queue)
        for task in tasks:
            key = batching.batch_key(task.inputs, queue.batched, pad_lengths=pad_lengths, paddable=paddable)
            self._scheduler.submit(queue, key, task, process)

    def _mailbox(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        if loop not in self._mailboxes:
            self._mailboxes[loop] = Mailbox(loop)
        return self._mailboxes[loop]

    def _process(self, queue: _Queue, tasks: list[BatchTask]) -> None:
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
            results = self._run_batch(queue, ready)
        except Exception as error:
            if len(ready) == 1:
                ready[0].result.set_exception(as_op_error(error))
                return
            for task in ready:
                self._run_single(queue, task)
            return
        for task, result in zip(ready, results, strict=True):
            task.result.set_result(result)

    def _run_batch(self, queue: _Queue, tasks: list[BatchTask]) -> list[dict[str, np.ndarray]]:
        servable = queue.servable
        rows = [task.rows for task in tasks]
        size = batching.rounded_up(sum(rows), self._options.allowed_batch_sizes)
        self._metrics.processed_batch_size.add((), size)
        self._metrics.padding_size.add((str(size),), size - sum(rows))
        merged = batching.merge(
            [task.inputs for task in tasks],
            queue.batched,
            pad_lengths=self._options.pad_variable_length_inputs,
            paddable=servable.paddable_inputs,
            size=size,
        )
        deadlines = [task.deadline for task in tasks if task.deadline is not None]
        # The batch may take as long as the latest deadline of its requests.
        latest = max(deadlines) if len(deadlines) == len(tasks) else None
        signature = servable.signature(queue.signature)
        outputs = servable.run(signature, merged, queue.outputs, timeout=_remaining(latest))
        return batching.split(outputs, rows, size, [task.width for task in tasks])

    def _run_single(self, queue: _Queue, task: BatchTask) -> None:
        try:
            task.result.set_result(self._run_batch(queue, [task])[0])
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
