"""Small SavedModels for the tests of the server and the client: a few lines of arithmetic each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.wire.layout import DESCRIPTION_FILE, EXTRA_FOLDER


def spec(shape: list[int | None], dtype: tf.DType, name: str) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name=name)


class Scale(tf.Module):
    """y = factor * x, and a few signatures that misbehave when asked to."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor)
        initializer = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64))
        self.table = tf.lookup.StaticHashTable(initializer, -1)

    @tf.function(input_signature=[spec([None, 2], tf.float32, "x")])
    def scale(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.factor * x, "factor": self.factor.read_value(), "rows": tf.shape(x)[0]}

    @tf.function(input_signature=[spec([None], tf.string, "word"), spec([], tf.bool, "shout")])
    def echo(self, word: tf.Tensor, shout: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "word": tf.cond(shout, lambda: tf.strings.join([word, "!"]), lambda: word),
            "id": self.table.lookup(word),
        }

    @tf.function(input_signature=[spec([], tf.string, "text")])
    def scalar(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"text": tf.identity(text), "length": tf.strings.length(text)}

    @tf.function(input_signature=[spec([], tf.int32, "turns")])
    def slow(self, turns: tf.Tensor) -> dict[str, tf.Tensor]:
        """Some milliseconds per turn; the result is `factor` whatever the turns."""
        square = tf.linalg.eye(500) * 1.0
        for _ in tf.range(turns):
            square = tf.linalg.matmul(square, square)
        return {"factor": self.factor * tf.reduce_max(square)}

    @tf.function(input_signature=[spec([None], tf.int32, "size")])
    def strict(self, size: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_positive(size, "size must be positive")]):
            return {"size": tf.identity(size)}


class Shop(tf.Module):
    """The signatures of the contract over five items with fixed scores 5 to 1, one label, two modalities."""

    ITEMS = ("a", "b", "c", "d", "e")

    def __init__(self) -> None:
        super().__init__()
        self.ids = tf.constant(self.ITEMS)
        self.scores = tf.constant([5.0, 4.0, 3.0, 2.0, 1.0])

    @tf.function(
        input_signature=[
            spec([None, None], tf.string, "history_ids"),
            spec([None, None], tf.float32, "history_values"),
            spec([None, None], tf.int64, "history_times"),
            spec([None], tf.int64, "now"),
            spec([None], tf.string, "query"),
            spec([None, None], tf.string, "exclude_ids"),
            spec([None, None], tf.string, "categories"),
            spec([None], tf.float32, "diversity"),
            spec([None], tf.int32, "k"),
            spec([None], tf.string, "device"),
            spec([None], tf.float32, "age"),
        ]
    )
    def recommend(  # type: ignore[no-untyped-def]
        self,
        history_ids,
        history_values,
        history_times,
        now,
        query,
        exclude_ids,
        categories,
        diversity,
        k,
        device,
        age,
    ):
        excluded = tf.reduce_any(self.ids[None, :, None] == exclude_ids[:, None, :], axis=2)
        ids, best = self.best(tf.where(excluded, -float("inf"), self.scores[None]), k)
        width = tf.reduce_max(k)
        last = tf.concat([tf.fill([tf.shape(history_ids)[0], 1], ""), history_ids], axis=1)[:, -1:]
        return {
            "ids": ids,
            "scores": best,
            "like": best / 10.0,
            "modality_weights": tf.tile(tf.constant([[[0.25, 0.75]]]), [tf.shape(ids)[0], width, 1]),
            "because_ids": tf.tile(last, [1, width]),
        }

    @tf.function(
        input_signature=[
            spec([None, None], tf.string, "history_ids"),
            spec([None, None], tf.string, "candidate_ids"),
            spec([None], tf.string, "device"),
        ]
    )
    def rank(self, history_ids, candidate_ids, device):  # type: ignore[no-untyped-def]
        found = tf.cast(candidate_ids[..., None] == self.ids, tf.float32)
        scores = tf.linalg.matvec(found, self.scores)
        return {"scores": scores, "like": scores / 10.0}

    @tf.function(input_signature=[spec([None], tf.string, "query"), spec([None], tf.int32, "k")])
    def search(self, query, k):  # type: ignore[no-untyped-def]
        ids, best = self.best(tf.cast(self.ids[None] == query[:, None], tf.float32), k)
        return {"ids": ids, "scores": best}

    def best(self, scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The k best of each row, as wide as the largest k; "" and -inf behind it and where none are left."""
        with tf.control_dependencies([tf.debugging.assert_positive(k, "k must be positive")]):
            width = tf.reduce_max(k)
        scores = tf.pad(scores, [[0, 0], [0, width]], constant_values=-float("inf"))
        best, places = tf.math.top_k(scores, width)
        best = tf.where(tf.range(width) < k[:, None], best, -float("inf"))
        ids = tf.gather(tf.concat([self.ids, tf.fill([width], "")], 0), places)
        return tf.where(tf.math.is_inf(best), "", ids), best

    @tf.function(input_signature=[spec([None], tf.string, "item_ids"), spec([None], tf.int32, "k")])
    def similar(self, item_ids, k):  # type: ignore[no-untyped-def]
        return self.search(item_ids, k)

    @tf.function(
        input_signature=[
            spec([None], tf.string, "text"),
            spec([None], tf.string, "image"),
            spec([None, 3], tf.float32, "timbre"),
            spec([None, None], tf.string, "genres"),
        ]
    )
    def embed_items(self, text, image, timbre, genres):  # type: ignore[no-untyped-def]
        """embedding: length of the text, bytes of the image, sum of the vector (NaN: -1), number of genres."""
        total = tf.reduce_sum(timbre, axis=1)
        columns = [
            tf.cast(tf.strings.length(text), tf.float32),
            tf.cast(tf.strings.length(image), tf.float32),
            tf.where(tf.math.is_nan(total), -1.0, total),
            tf.reduce_sum(tf.cast(genres != "", tf.float32), axis=1),
        ]
        embedding = tf.stack(columns, axis=1)
        return {"embedding": embedding, "modality_weights": tf.ones_like(embedding) / 4.0}


class Halves(tf.Module):
    """Signatures over tf.Examples with a number x and a name: x / 2 + 2, and results that are wrong in their form."""

    @staticmethod
    def features(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {
            "x": tf.io.FixedLenFeature([], tf.float32),
            "name": tf.io.FixedLenFeature([], tf.string, ""),
            "count": tf.io.FixedLenFeature([], tf.int64, 0),
        }
        return tf.io.parse_example(inputs, features)

    def signatures(self) -> dict[str, Any]:
        """Every signature has one input, "inputs" [B], and of `parsed` the outputs named here."""

        def half(parsed):  # type: ignore[no-untyped-def]
            return parsed["x"] / 2.0 + 2.0

        def labels(parsed):  # type: ignore[no-untyped-def]
            return tf.stack([parsed["name"], tf.strings.as_string(parsed["count"])], axis=1)

        def scores(parsed):  # type: ignore[no-untyped-def]
            return tf.stack([half(parsed), parsed["x"]], axis=1)

        made = {
            "regress": lambda parsed: {"outputs": half(parsed)},
            "column": lambda parsed: {"outputs": half(parsed)[:, None]},
            "classify": lambda parsed: {"classes": labels(parsed), "scores": scores(parsed)},
            "labels": lambda parsed: {"classes": labels(parsed)},
            "scores": lambda parsed: {"scores": scores(parsed)},
            "wide": lambda parsed: {"outputs": scores(parsed)},
            "whole": lambda parsed: {"outputs": parsed["count"]},
            "first": lambda parsed: {"outputs": half(parsed)[:1]},
            "flat": lambda parsed: {"scores": half(parsed)},
            "uneven": lambda parsed: {"classes": labels(parsed), "scores": scores(parsed)[:, :1]},
            "broken": lambda parsed: {"classes": tf.strings.join([labels(parsed), b"\xff"])},
        }

        def signature(outputs):  # type: ignore[no-untyped-def]
            return tf.function(
                lambda inputs: outputs(self.features(inputs)), input_signature=[spec([None], tf.string, "inputs")]
            )

        return {name: signature(outputs) for name, outputs in made.items()}


def export_halves(path: Path) -> Path:
    """Writes Halves as the SavedModel `path`; "regress" is its default signature."""
    module = Halves()
    signatures = module.signatures()
    tf.saved_model.save(module, str(path), signatures={**signatures, "serving_default": signatures["regress"]})
    return path


def describe_as_ours(version: Path) -> Path:
    """Adds the description by which the server knows an export of Triptych."""
    description = version / EXTRA_FOLDER / DESCRIPTION_FILE
    description.parent.mkdir(exist_ok=True)
    description.write_text("{}")
    return version


def export_scale(path: Path, factor: float) -> Path:
    """Writes Scale as the SavedModel `path`."""
    module = Scale(factor)
    names = ("echo", "scalar", "slow", "strict")
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(path), signatures={**signatures, "serving_default": module.scale})
    return path


def export_shop(path: Path) -> Path:
    """Writes Shop as the SavedModel `path`."""
    module = Shop()
    names = ("recommend", "rank", "search", "similar", "embed_items")
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(path), signatures={**signatures, "serving_default": module.recommend})
    return path


def place(version: Path, model_folder: Path, number: int) -> Path:
    """Puts a copy of a SavedModel into a model's folder under a version number, whole in one step."""
    model_folder.mkdir(parents=True, exist_ok=True)
    half = model_folder / f".{number}.part"
    shutil.copytree(version, half)
    return half.rename(model_folder / str(number))


def add_warm_up(version: Path, requests: list[predict_pb2.PredictRequest]) -> None:
    """Records Predict requests where TensorFlow Serving looks for them."""
    add_warm_up_logs(
        version,
        [
            prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            for request in requests
        ],
    )


def add_warm_up_logs(version: Path, logs: list[prediction_log_pb2.PredictionLog]) -> None:
    """Records requests of any kind where TensorFlow Serving looks for them."""
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
