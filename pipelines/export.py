"""`triptych export`: a trained run -> one SavedModel version that stock TensorFlow Serving hosts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from pipelines import metrics
from pipelines.evaluate import held_out_requests
from pipelines.heldout import Requests
from pipelines.progress import say
from pipelines.recommender import TowerRecommender
from pipelines.run_folder import RunFolder
from pipelines.scoring import ModelScorer
from pipelines.train import Session, load_trained
from serving import contract, layout
from serving.gate import Answers, ask_fresh_process, unknown_ops
from serving.signatures import ServingModule
from tfrecs.errors import ExportError
from tfrecs.features import feature_for
from tfrecs.reader import item_features, user_features

PARITY_K = 20
TOLERANCE = 1e-5


@dataclass(frozen=True)
class ExportJob:
    """`to` is the model's folder, `saved_models/<name>`; the version is the next integer in it."""

    run: Path
    to: Path


@dataclass(frozen=True)
class ExportResult:
    path: Path
    version: int
    requests: int
    megabytes: float
    load_seconds: float


def run(job: ExportJob) -> ExportResult:
    """Exports, checks, and only then puts the version in place.

    Raises:
      ExportError: the gate failed: an op that a server lacks, or answers that differ from Python's.
      TriptychError: the run is not there.
    """
    session = load_trained(RunFolder(job.run))
    version = layout.latest_version(job.to) + 1
    temporary = job.to / f".export-{version}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        module = make_module(session)
        tf.saved_model.save(module, str(temporary), signatures=module.signatures())
        requests = held_out_requests(session)
        sample = _sample(requests, session.config.export.parity_requests)
        inputs = _inputs(session, requests, sample)
        _write_extras(session, module, temporary, job.to.name, inputs)
        answers = _gate(session, requests, sample, inputs, temporary)
        megabytes = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file()) / 1e6
        temporary.rename(job.to / str(version))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if job.to.is_dir() and not any(job.to.iterdir()):
            job.to.rmdir()
    say(
        f"Exported {job.to / str(version)} ({megabytes:.1f} MB): {len(answers.ops)} op kinds, all of a stock server; "
        f"loaded in a fresh process in {answers.load_seconds:.1f} s; {len(sample)} requests answered as in Python."
    )
    return ExportResult(job.to / str(version), version, len(sample), megabytes, answers.load_seconds)


def make_module(session: Session) -> ServingModule:
    """The model with its index, as a trackable object with signatures."""
    table, weights = session.model.items()
    return ServingModule(
        TowerRecommender(session.model),
        session.catalogue.ids.tolist(),
        table.numpy(),
        weights.numpy(),
        _categories(session),
        session.config.export.pool,
    )


def _categories(session: Session) -> list[list[str]]:
    """What filters know of each item: the values of every feature that is a list of strings."""
    names = [
        feature.name
        for feature in session.manifest.schema_.items
        if feature_for(feature).spec.dtype == tf.string and feature_for(feature).spec.shape.rank == 1
    ]
    rows: list[list[str]] = [[] for _ in range(len(session.catalogue))]
    if not names:
        return rows
    values, _ = item_features(session.manifest.schema_, session.catalogue.serialized)
    for name in names:
        for row, items in zip(rows, values[name].numpy(), strict=True):
            row.extend(value.decode() for value in items if value)
    return [sorted(set(row)) for row in rows]


def _sample(requests: Requests, limit: int) -> np.ndarray:
    """Rows spread evenly over the test period, so that short and long histories are among them."""
    return np.unique(np.linspace(0, len(requests) - 1, limit).astype(np.int64))


def _inputs(session: Session, requests: Requests, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Held-out requests as inputs of `recommend`, whole histories, as a client would send them."""
    ids = session.catalogue.ids
    histories = [requests.queries.histories[row] for row in rows]
    longest = max((len(history) for history in histories), default=0)
    count = len(rows)
    inputs: dict[str, np.ndarray] = {
        "history_ids": np.full([count, longest], "", object),
        "history_values": np.zeros([count, longest], np.float32),
        "history_times": np.zeros([count, longest], np.int64),
        "now": requests.queries.times[rows].astype(np.int64),
        "query": np.full([count], "", object),
        "exclude_ids": np.full([count, 0], "", object),
        "categories": np.full([count, 0], "", object),
        "diversity": np.zeros([count], np.float32),
        "k": np.array(PARITY_K, np.int32),
    }
    for position, row in enumerate(rows):
        length = len(histories[position])
        inputs["history_ids"][position, :length] = ids[histories[position]]
        inputs["history_values"][position, :length] = requests.values[row]
        inputs["history_times"][position, :length] = requests.event_times[row]
    inputs |= {name: values[rows] for name, values in requests.context.items()}
    if session.manifest.schema_.users:
        inputs |= _raw_users(session, requests, rows)
    return inputs


def _raw_users(session: Session, requests: Requests, rows: np.ndarray) -> dict[str, np.ndarray]:
    """User features in the form that a client sends: decoded values, with what is absent as the form's "missing"."""
    values, presence = user_features(session.manifest.schema_, tf.constant(requests.users[rows], tf.string))
    result = {}
    for column, feature in enumerate(session.manifest.schema_.users):
        spec = feature_for(feature).raw_spec
        value = values[feature.name].numpy()
        missing = b"" if spec.dtype == tf.string else np.nan
        value[~presence.numpy()[:, column]] = missing
        result[feature.name] = value.astype(object) if spec.dtype == tf.string else value
    return result


def _write_extras(
    session: Session, module: ServingModule, folder: Path, name: str, inputs: Mapping[str, np.ndarray]
) -> None:
    """What lies beside the graph: description, titles, and warm-up requests from real histories."""
    extra = folder / layout.EXTRA_FOLDER
    extra.mkdir(parents=True)
    names = list(module.signatures())
    versions = {**session.manifest.versions, "triptych": package_version("triptych")}
    description = contract.describe(session.manifest.schema_, names, len(session.catalogue), versions)
    (extra / layout.DESCRIPTION_FILE).write_text(description, encoding="utf-8")
    titles = dict(zip(session.catalogue.ids.tolist(), session.catalogue.titles.tolist(), strict=True))
    (extra / layout.TITLES_FILE).write_text(json.dumps(titles, ensure_ascii=False) + "\n", encoding="utf-8")
    limit = min(session.config.export.warmup_requests, len(inputs["now"]))
    with tf.io.TFRecordWriter(str(extra / layout.WARMUP_FILE)) as writer:
        for row in range(limit):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = contract.RECOMMEND
            for key, value in inputs.items():
                one = value if value.ndim == 0 else value[row : row + 1]
                request.inputs[key].CopyFrom(tf.make_tensor_proto(one, _dtype(one)))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def _dtype(array: np.ndarray) -> Any:
    return tf.string if array.dtype == object else tf.as_dtype(array.dtype)


def _gate(
    session: Session, requests: Requests, sample: np.ndarray, inputs: Mapping[str, np.ndarray], folder: Path
) -> Answers:
    """Raises ExportError unless a fresh process gives Python's answers with a stock server's ops."""
    ids = session.catalogue.ids
    asked: dict[str, Mapping[str, np.ndarray]] = {
        contract.RECOMMEND: inputs,
        contract.SIMILAR: {"item_ids": ids[:8].astype(object), "k": np.array(5, np.int32)},
    }
    shared = {key: value for key, value in inputs.items() if key != "k"}
    asked[contract.RANK] = {**shared, "candidate_ids": np.tile(ids[:8].astype(object), [len(sample), 1])}
    if session.manifest.schema_.items:
        asked[contract.EMBED_ITEMS] = _missing_item(session)
    if session.model.query_encoder is not None:
        asked[contract.SEARCH] = {"query": session.catalogue.titles[:8].astype(object), "k": np.array(5, np.int32)}
    try:
        answers = ask_fresh_process(folder, asked)
    except RuntimeError as error:
        raise ExportError(f"export gate: {error}") from error
    unknown = unknown_ops(answers.ops)
    if unknown:
        raise ExportError(f"export gate: stock TensorFlow Serving has no op {', '.join(unknown)}; nothing was written")
    _compare(session, requests, sample, answers.outputs[contract.RECOMMEND])
    return answers


def _missing_item(session: Session) -> dict[str, np.ndarray]:
    """One item without any modality, in raw form."""
    result = {}
    for feature in session.manifest.schema_.items:
        spec = feature_for(feature).raw_spec
        shape = [1 if size is None else size for size in spec.shape]
        result[feature.name] = (
            np.full(shape, "", object) if spec.dtype == tf.string else np.full(shape, np.nan, np.float32)
        )
    return result


def _compare(session: Session, requests: Requests, sample: np.ndarray, served: Mapping[str, np.ndarray]) -> None:
    queries = requests.queries.take(sample)
    scores = ModelScorer(session.model, requests)(queries)
    count = len(session.catalogue)
    ranking = metrics.rank(lambda part: scores, queries, num_items=count, depth=PARITY_K, batch=len(queries))
    there = ranking.items >= 0
    expected = np.where(there, np.take_along_axis(scores, np.maximum(ranking.items, 0), axis=1), -np.inf)
    scale = max(1.0, float(np.abs(scores).max()))
    difference = np.abs(np.where(there, served["scores"] - expected, 0.0)).max()
    if (np.isfinite(served["scores"]) != there).any() or difference > TOLERANCE * scale:
        raise ExportError(f"export gate: served scores differ from Python's by {difference:.2g}; nothing was written")
    ids = np.where(there, session.catalogue.ids[np.maximum(ranking.items, 0)], "")
    answered = np.array([[value.decode() for value in row] for row in served["ids"]])
    # Two items whose scores differ by less than float32 can tell may change places; nothing else may.
    gaps = np.abs(np.diff(expected, axis=1, append=-np.inf, prepend=np.inf))
    near_tie = np.minimum(gaps[:, :-1], gaps[:, 1:]) <= TOLERANCE * scale
    wrong = (ids != answered) & ~near_tie
    if wrong.any():
        raise ExportError(f"export gate: {int(wrong.sum())} served ids differ from Python's; nothing was written")


if __name__ == "__main__":
    from pipelines.cli import step_main

    step_main("export")
