"""Prometheus metrics with the names, labels and buckets of TensorFlow Serving.

The names are those of servables/tensorflow/util.cc, batching/batching_session.cc and batching/batching_util.h, written
as util/prometheus_exporter.cc writes them (every "/" becomes ":"). Prometheus's Python client cannot be used: it appends
`_total` to the names of counters, which TensorFlow Serving does not.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

Labels = tuple[str, ...]


class Counter:
    """A counter by label values; thread-safe."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self._name, self._labels = name, tuple(labels)
        self._values: dict[Labels, int] = {}
        self._lock = threading.Lock()

    def add(self, values: Labels) -> None:
        """Increment the count of these label values."""
        with self._lock:
            self._values[values] = self._values.get(values, 0) + 1

    def lines(self) -> list[str]:
        """The counts in Prometheus's text format."""
        with self._lock:
            points = sorted(self._values.items())
        return [
            f"# TYPE {self._name} counter",
            *(f"{self._name}{{{_labels(self._labels, values)}}} {count}" for values, count in points),
        ]


@dataclass
class _Distribution:
    counts: list[int]
    total: float = 0.0


class Histogram:
    """A histogram by label values, with buckets that grow by a constant factor; thread-safe.

    Args:
      name: name in Prometheus.
      labels: names of the labels.
      first: upper bound of the first bucket.
      factor: ratio of consecutive bounds.
      buckets: number of bounds; larger values count in the bucket "+Inf".
    """

    def __init__(self, name: str, labels: Sequence[str], *, first: float, factor: float, buckets: int) -> None:
        self._name, self._labels = name, tuple(labels)
        self._bounds = [first * factor**power for power in range(buckets)]
        self._values: dict[Labels, _Distribution] = {}
        self._lock = threading.Lock()

    def add(self, values: Labels, amount: float) -> None:
        """Record an observation."""
        with self._lock:
            distribution = self._values.get(values)
            if distribution is None:
                distribution = self._values[values] = _Distribution([0] * (len(self._bounds) + 1))
            distribution.counts[bisect_left(self._bounds, amount)] += 1
            distribution.total += amount

    def lines(self) -> list[str]:
        """The distributions in Prometheus's text format, with cumulative buckets."""
        with self._lock:
            points = sorted((values, list(point.counts), point.total) for values, point in self._values.items())
        lines = [f"# TYPE {self._name} histogram"]
        names = [f"{bound:g}" for bound in self._bounds] + ["+Inf"]
        for values, counts, total in points:
            labels = _labels(self._labels, values)
            cumulated = 0
            for name, count in zip(names, counts, strict=True):
                cumulated += count
                lines.append(f'{self._name}_bucket{{{labels}{"," if labels else ""}le="{name}"}} {cumulated}')
            lines.append(f"{self._name}_sum{{{labels}}} {total:g}")
            lines.append(f"{self._name}_count{{{labels}}} {cumulated}")
        return lines


def _serving(name: str) -> str:
    return f":tensorflow:serving:{name}"


def _microseconds(name: str, *labels: str) -> Histogram:
    return Histogram(_serving(name), labels, first=10, factor=1.8, buckets=33)


def _rows(name: str, *labels: str) -> Histogram:
    return Histogram(_serving(f"batching_session:{name}"), labels, first=1, factor=2, buckets=14)


@dataclass(frozen=True)
class ServerMetrics:
    """All metrics of a server; times in microseconds.

    Attributes:
      request_count: requests by model name and status name ("OK", "NOT_FOUND", ...).
      request_latency: time of successful requests, by model name, API ("Predict") and entry point ("GRPC" or "REST").
      runtime_latency: time of the model's run, waiting included, by model name, API and runtime ("TF1").
      queuing_latency: time of requests in batching queues, by thread pool name.
      input_batch_size: rows of a request.
      processed_batch_size: rows of a batch.
      padding_size: rows added to fill a batch up, by batch size.
    """

    request_count: Counter = field(default_factory=lambda: Counter(_serving("request_count"), ("model_name", "status")))
    request_latency: Histogram = field(
        default_factory=lambda: _microseconds("request_latency", "model_name", "API", "entrypoint")
    )
    runtime_latency: Histogram = field(
        default_factory=lambda: _microseconds("runtime_latency", "model_name", "API", "runtime")
    )
    queuing_latency: Histogram = field(
        default_factory=lambda: Histogram(
            _serving("batching_session:queuing_latency"), ("thread_pool_name",), first=100, factor=1.2, buckets=52
        )
    )
    input_batch_size: Histogram = field(default_factory=lambda: _rows("input_batch_size"))
    processed_batch_size: Histogram = field(default_factory=lambda: _rows("processed_batch_size"))
    padding_size: Histogram = field(default_factory=lambda: _rows("padding_size", "execution_batch_size"))

    def page(self) -> str:
        """All metrics in Prometheus's text format."""
        metrics: tuple[Counter | Histogram, ...] = (
            self.queuing_latency,
            self.input_batch_size,
            self.padding_size,
            self.processed_batch_size,
            self.request_count,
            self.request_latency,
            self.runtime_latency,
        )
        return "\n".join(line for metric in metrics for line in metric.lines()) + "\n"


def _labels(names: Labels, values: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
