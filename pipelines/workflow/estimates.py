"""Rough time and memory of each step of a run on this machine, from quick measurements and counts of the work."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

from pipelines.config import Config
from pipelines.model.model_factory import choose_softmax, make_encoders, query_encoder, resolve_config
from tfrecs.build.build_plan import BuildPlan
from tfrecs.check.sample import FeatureSample, WindowSample
from tfrecs.reading.packing import MAX_HISTORIES
from tfrecs.reading.reader import item_features
from tfrecs.schema import Schema
from towers.encoders.base import Encoder
from towers.encoders.bert_checkpoint import open_checkpoint

# Calibrated on two cores (docs/guides/large_data.md says on what, and how far off it was).
_START = {"build": 2.0, "train": 25.0, "evaluate": 12.0, "export": 35.0}  # seconds: imports, tracing, a fresh process
_BASE_MEGABYTES = 1600.0  # TensorFlow, Keras and keras-nlp
_STEP = 0.015  # seconds of a training step beside its arithmetic
_VOCABULARY = 17.0  # seconds to train a WordPiece vocabulary on a megabyte of text
_BACKWARD = 3.0  # forward and backward against forward alone
_SOFTMAX_PASSES = 4.0  # passes over the logits of a training step, in units of one softmax
_RANKING_PASSES = 6.0  # the same for a ranked request
_SYSTEMS = 6  # that are ranked on all requests
_BYTES_OF_SCORE = 30  # with what selects the best


@dataclass(frozen=True)
class Estimate:
    """Expected seconds and largest resident memory of a step."""

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Machine:
    """Measured speed: float32 multiply-adds a second in products of narrow matrices, and softmax elements a second."""

    multiply_adds: float
    elements: float


@dataclass(frozen=True)
class EncoderCost:
    """Measured seconds for one item: to prepare it, and to encode it; bytes of the prepared item; numbers of its encoding."""

    prepare: float
    encode: float
    bytes: int
    dim: int
    is_pretrained: bool = False


@dataclass(frozen=True)
class Work:
    """Counts of the work of a run.

    Attributes:
      items, taught: items, and those that the stage before training learns from.
      steps: training steps of an epoch.
      events: events of a split.
      modalities: number of item features.
    """

    items: int
    taught: int
    steps: int
    events: dict[str, int]
    modalities: int


def best_of(function: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of some calls, after one that does not count."""
    function()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def measure_machine(width: int) -> Machine:
    """Measure this machine for towers of some width, as busy as it is."""
    left, right = tf.random.normal([1024, width]), tf.random.normal([width, 2048])
    logits = tf.matmul(left, right)
    product = best_of(lambda: tf.matmul(left, right).numpy())
    softmax = best_of(lambda: tf.nn.log_softmax(logits).numpy())
    return Machine(1024 * width * 2048 / product, 1024 * 2048 / softmax)


def measure_encoders(config: Config, schema: Schema, examples: Sequence[bytes]) -> dict[str, EncoderCost]:
    """Prepare and encode a sample of items with the encoders that would be trained.

    Args:
      config: of the run.
      schema: of the records.
      examples: serialized items, at least one.

    Returns:
      Item feature -> its cost; the key "" is that of a text query, where items have a text.
    """
    config = resolve_config(config, schema)
    encoders = make_encoders(schema.items, config, _vocabulary(config))
    values, _ = item_features(schema, tf.constant(list(examples), tf.string))
    costs = {}
    for name, encoder in encoders.items():
        inputs = encoder.preprocess(values[name])
        prepare = best_of(partial(encoder.preprocess, values[name]), 1) / len(examples)
        costs[name] = EncoderCost(
            prepare, _forward(encoder, inputs), inputs[:1].numpy().nbytes, encoder.output_dim, encoder.is_pretrained
        )
    queries = query_encoder(encoders)
    if queries is not None:
        typed = tf.zeros([len(examples), queries.query_tokens], tf.int32)
        costs[""] = EncoderCost(0.0, _forward(queries, typed), 4 * queries.query_tokens, queries.output_dim)
    return costs


def _forward(encoder: Encoder, inputs: tf.Tensor) -> float:
    encode = tf.function(encoder, autograph=False)
    return best_of(partial(encode, inputs)) / int(inputs.shape[0])


def _vocabulary(config: Config) -> list[str]:
    """Tokens of the right number: that of a checkpoint, else of the vocabulary that the build would train at most."""
    if config.text.checkpoint is not None:
        return open_checkpoint(config.text.checkpoint).vocabulary
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, *(f"t{number}" for number in range(config.build.vocabulary_size - len(special)))]


def count_work(plan: BuildPlan, config: Config) -> Work:
    """Count what a run on a planned build would do."""
    facts = plan.events.facts
    per_user, counts = facts.user_events[0], facts.train_events
    length, stride = config.user.max_history, min(config.user.stride, config.user.max_history)
    per_user = per_user[per_user > 0]
    repeated = np.maximum(0, -(-(per_user - length) // stride)) * (length - stride)  # as history, in a next window
    rows = max((per_user + repeated).sum() / length, len(per_user) / MAX_HISTORIES)
    return Work(
        items=len(plan.items.ids),
        taught=int((counts >= config.cooccurrence.min_events).sum()) if plan.items.features else 0,
        steps=max(1, math.ceil(rows / config.train.batch_size)),
        events={name: split.events for name, split in facts.splits.items()},
        modalities=len(plan.items.features),
    )


def estimate(
    plan: BuildPlan,
    features: Sequence[FeatureSample],
    windows: WindowSample,
    examples: Sequence[bytes],
    read_seconds: float,
    config: Config,
) -> dict[str, Estimate]:
    """Estimate the steps of a run: step -> time and memory. Good to a factor of about two.

    Args:
      plan: of the build.
      features: samples of all features of items and users.
      windows: sample of the user windows.
      examples: serialized items of a sample.
      read_seconds: how long the tables took to read.
      config: of every step.
    """
    machine, work = measure_machine(config.user.hidden_dim), count_work(plan, config)
    costs = measure_encoders(config, plan.schema, examples) if plan.items.features else {}
    encoders = [cost for name, cost in costs.items() if name]
    prepare = work.items * sum(cost.prepare for cost in encoders)
    encode = sum(cost.encode for cost in encoders)
    inverse = _linear_products(work, config) / machine.multiply_adds
    request = _request_seconds(work, config, machine)
    seconds = {
        "build": read_seconds + _encoding_seconds(plan, features, config) + windows.seconds,
        "train": prepare + _training_seconds(work, config, machine, encode, costs, request, inverse),
        "evaluate": prepare + _evaluation_seconds(work, config, request, inverse),
        "export": prepare + config.export.parity_requests * request,
    }
    megabytes = _megabytes(work, config, encoders)
    return {step: Estimate(_START[step] + value, megabytes[step]) for step, value in seconds.items()}


def _linear_products(work: Work, config: Config) -> float:
    """Multiply-adds of a fit of the linear item-item model."""
    if work.items <= config.hybrid.linear_items:
        return float(work.items) ** 3
    # A regression's own arithmetic is about a quarter of its time; the rest counts what its neighbours have in common.
    return 4.0 * work.items * min(config.hybrid.kept_links(work.items), work.items) ** 3 / 3


def _encoding_seconds(plan: BuildPlan, features: Sequence[FeatureSample], config: Config) -> float:
    """Seconds to encode all values, and to train a vocabulary on the texts among them."""
    objects = [feature for part in plan.entities for feature in part.features]
    texts = sum(
        sample.bytes * sample.with_value
        for sample, feature in zip(features, objects, strict=True)
        if feature.spec.dtype == tf.string and feature.spec.shape.rank == 0
    )
    # The cost is that of the different words, whose number grows slower than the text (Heaps' law).
    vocabulary = 0.0 if config.text.checkpoint else _VOCABULARY * (texts / 1e6) ** 0.6
    processes = len(plan.items.ids) >= config.build.processes_from
    workers = min(config.build.workers, os.cpu_count() or 1) if processes else 1
    return sum(sample.seconds * sample.with_value for sample in features) / workers + vocabulary


def _request_seconds(work: Work, config: Config, machine: Machine) -> float:
    """Seconds to embed a request and to rank all items for it."""
    arithmetic = config.user.max_history * _tower_products(config) + work.items * config.user.hidden_dim
    return arithmetic / machine.multiply_adds + _RANKING_PASSES * work.items / machine.elements + 2e-4


def _tower_products(config: Config) -> int:
    """Multiply-adds of the user tower at one position."""
    user, width = config.user, config.user.hidden_dim
    return user.num_layers * width * (4 * width + 2 * user.intermediate_dim + 2 * user.max_history)


def _training_seconds(
    work: Work,
    config: Config,
    machine: Machine,
    encode: float,
    costs: dict[str, EncoderCost],
    request: float,
    inverse: float,
) -> float:
    train, width = config.train, config.user.hidden_dim
    positions = train.batch_size * config.user.max_history
    full = choose_softmax(config, work.items) == "full"
    candidates = work.items if full else positions + config.retrieval.uniform_negatives
    dims = sum(cost.dim for name, cost in costs.items() if name)
    products = positions * (_tower_products(config) + candidates * width)
    products += candidates * width * (dims + (work.modalities + 5) * width) * bool(work.modalities)
    step = (
        _STEP
        + _BACKWARD * products / machine.multiply_adds
        + _SOFTMAX_PASSES * positions * candidates / machine.elements
    )
    fresh = min(train.fresh_items, work.items)
    if train.encodes_in_step:
        step += _BACKWARD * fresh * encode
    if "" in costs:
        step += _BACKWARD * fresh * costs[""].encode
    epoch = work.steps * step + min(train.validation_queries, work.events["valid"]) * request
    if train.encodes_in_step:
        epoch += work.items * encode
    total = train.planned_epochs * epoch + work.items * encode
    if train.encoders == "cooccurrence" and work.modalities:
        taught = config.cooccurrence.epochs * work.taught
        learned = [cost.encode for name, cost in costs.items() if name and not cost.is_pretrained]
        if learned:
            total += taught * (_BACKWARD * sum(learned) + _STEP / config.cooccurrence.batch_size)
    if config.hybrid.enabled:
        candidates_of_fit: float = 2 * len(config.hybrid.regularizations) + len(config.hybrid.content_weights)
        if work.items > config.hybrid.linear_items:  # each is fitted for the items that are drawn, the best one for all
            candidates_of_fit = 1 + len(config.hybrid.regularizations) * config.hybrid.candidates / work.items
        total += candidates_of_fit * inverse + 8 * min(config.hybrid.queries, work.events["valid"]) * request
    return total


def _evaluation_seconds(work: Work, config: Config, request: float, inverse: float) -> float:
    settings = config.evaluate
    tests = min(work.events["test"], settings.max_requests)
    again, few = min(tests, settings.section_requests), min(tests, settings.pattern_queries)
    subsets = max(2 * work.modalities + 2, settings.pattern_items // max(work.items, 1))
    patterns = min(2**work.modalities, settings.patterns, subsets) + 2 if work.modalities else 0
    # The model, the baselines and the oracle; without a modality and by the towers alone; with parts of the content.
    ranked = _SYSTEMS * tests + (1 + work.modalities) * again + 2 * patterns * few
    fitted = patterns if work.items <= config.hybrid.linear_items else 0  # EASE with other content
    return ranked * request + fitted * inverse


def _megabytes(work: Work, config: Config, encoders: Sequence[EncoderCost]) -> dict[str, float]:
    """Largest resident memory of each step."""
    positions = config.train.batch_size * config.user.max_history
    full = choose_softmax(config, work.items) == "full"
    logits = 4 * positions * (work.items if full else positions + config.retrieval.uniform_negatives)
    squares = 8 * work.items**2 if work.items <= config.hybrid.linear_items else 0
    prepared = work.items * sum(cost.bytes for cost in encoders)
    catalogue = 2 * prepared if prepared <= 1e6 * config.train.items_in_memory else 0
    # Of a large catalogue two bytes a number, in a file that is mapped into memory.
    catalogue += work.items * (200 + sum((8 if full else 2) * cost.dim for cost in encoders))
    table = 4 * work.items * config.user.hidden_dim
    largest = {
        "build": work.items * 500 + sum(work.events.values()) * 400,
        "train": catalogue + 4 * table + max(6 * logits, 4 * squares),
        "evaluate": catalogue + 2 * table + 4 * squares + _BYTES_OF_SCORE * config.evaluate.scores_in_memory,
        "export": catalogue + 2 * table + 3 * squares,
    }
    return {step: _BASE_MEGABYTES * (0.4 if step == "build" else 1.0) + value / 1e6 for step, value in largest.items()}
