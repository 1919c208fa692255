"""Rows of one request and requests of one batch, on a real export: REST's two forms, TensorFlow's own batching, bad `k`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the ops of the text tower)
from contract_requests import CATEGORIES, IDS
from curl import answered, refused_by_rest
from small_model import SCHEMA, config, model
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from toy_server import running

from pipelines.exporting.serving_adapter import TowerRecommender
from serving.client.client import Client
from serving.graph import contract
from serving.graph.signatures import ServingModule
from serving.server import predict_util
from serving.server.servable import Servable, load
from serving.server.server import RestOptions, Server
from serving.wire import layout

pytestmark = pytest.mark.slow

MAX_K, NOW = 50, 1_700_000_000


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with every signature; the generator gives the six items with the largest inner products."""
    trained = model(config())
    embeddings, weights = trained.item_embeddings()

    def generator(queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        best, index = tf.math.top_k(tf.matmul(queries, embeddings, transpose_b=True), 6)
        return index, best

    arguments = (TowerRecommender(trained, None), IDS, embeddings.numpy(), weights.numpy(), CATEGORIES)
    module = ServingModule(*arguments, pool=2, max_k=MAX_K, generator=generator)
    signatures = module.signatures()
    path = tmp_path_factory.mktemp("models") / "ours" / "1"
    tf.saved_model.save(module, str(path), signatures=signatures)
    extra = path / layout.EXTRA_FOLDER
    extra.mkdir()
    described = contract.describe(SCHEMA, sorted(signatures), len(IDS), {}, module.table.dtype)
    (extra / layout.DESCRIPTION_FILE).write_text(described, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(version: Path) -> Iterator[Server]:
    with running(version.parent.parent, rest=RestOptions(port=0, timeout=30.0, prometheus_path=None)) as server:
        yield server


@pytest.fixture(scope="module")
def loaded(version: Path) -> Any:
    return tf.saved_model.load(str(version))


def nan_as_none(value: Any) -> Any:
    """NaN equals nothing, not even itself."""
    if isinstance(value, list):
        return [nan_as_none(part) for part in value]
    if isinstance(value, dict):
        return {name: nan_as_none(part) for name, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


# --- REST

_USER = {
    "history_ids": ["i1", "i2"], "history_values": [5.0, math.nan], "history_times": [NOW - 60, 0], "now": NOW, "query": "",
    "exclude_ids": ["i3"], "categories": ["odd"], "diversity": 0.0, "device": "phone", "age": 40.0,
}  # fmt: skip
_OTHER = {
    "history_ids": ["i7", ""], "history_values": [1.0, 0.0], "history_times": [0, 0], "now": 0, "query": "a b",
    "exclude_ids": [""], "categories": [""], "diversity": 0.7, "device": "", "age": math.nan,
}  # fmt: skip
# Two rows of every signature. In a REST request lists of one input are of one length in all rows: "" fills them up.
ROWS: dict[str, list[dict[str, Any]]] = {
    "recommend": [_USER | {"k": 3}, _OTHER | {"k": 5}],
    "serving_default": [_USER | {"k": 1}, _OTHER | {"k": 1}],
    "recommend_simple": [{"history_ids": ["i1", "i2"], "k": 3}, {"history_ids": ["", "i9"], "k": 2}],
    "generate": [_USER | {"k": 2}, _OTHER | {"k": 4}],
    "rank": [_USER | {"candidate_ids": ["i4", "i5"]}, _OTHER | {"candidate_ids": ["nobody", "i1"]}],
    "search": [{"query": "a", "k": 4}, {"query": "", "k": 1}],
    "similar": [{"item_ids": "i1", "k": 1}, {"item_ids": "nobody", "k": 2}],
    "embed_items": [{"words": "a b", "feel": [1.0, 2.0, 3.0, 4.0]}, {"words": "", "feel": [math.nan] * 4}],
}


def specs(function: Any) -> dict[str, tf.TensorSpec]:
    return {spec.name: spec for spec in function.structured_input_signature[1].values()}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("signature", ROWS)
def test_every_signature_answers_in_rows_what_it_answers_in_columns(
    server: Server, loaded: Any, signature: str
) -> None:
    rows = ROWS[signature]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    ask = lambda **body: answered(  # noqa: E731
        server, "/v1/models/ours:predict", data={"signature_name": signature, **body}
    )
    by_column, by_row = ask(inputs=columns)["outputs"], ask(instances=rows)["predictions"]
    assert nan_as_none(by_row) == nan_as_none(
        [dict(zip(by_column, values, strict=True)) for values in zip(*by_column.values(), strict=True)]
    )
    function = loaded.signatures[signature]
    inputs = {name: tf.constant(columns[name], spec.dtype) for name, spec in specs(function).items()}
    for name, value in function(**inputs).items():
        if value.dtype == tf.string:
            assert by_column[name] == [[item.decode() for item in row] for row in value.numpy().tolist()]
        else:
            np.testing.assert_allclose(by_column[name], value.numpy(), atol=1e-5)


def test_the_rows_above_are_of_all_signatures(loaded: Any) -> None:
    assert set(ROWS) == set(loaded.signatures)


# --- TensorFlow Serving's batching: requests as our client sends them

CALLS: dict[str, list[Callable[[Client], Any]]] = {
    "recommend": [
        lambda client: client.recommend(k=3, history_ids=["i1"], now=NOW, device="phone"),
        lambda client: client.recommend(k=1, history_ids=["i4", "i2", "i9", "i3"], now=NOW, categories=["odd", "big"]),
        lambda client: client.recommend(k=12, now=NOW, diversity=0.6, exclude_ids=["i5", "i6", "i7"]),
        lambda client: client.recommend(k=5, history_ids=["i8", "i8"], history_values=[5, -1], now=NOW, query="a b"),
    ],
    "rank": [
        lambda client: client.rank(["i1"], history_ids=["i4", "i2", "i9"], now=NOW),
        lambda client: client.rank(["i5", "i3", "nobody"], history_ids=["i1"], now=NOW, age=20.0),
        lambda client: client.rank(["i2", "i6"], now=NOW),
    ],
    "search": [lambda client, k=k: client.search("a c", k=k) for k in (1, 4, 2)],  # type: ignore[misc]
    "similar": [lambda client, k=k: client.similar(f"i{k}", k=k) for k in (1, 7, 2)],  # type: ignore[misc]
    "embed_items": [
        lambda client: client.embed_items(words=["a b"], feel=[[1, 2, 3, 4]]),
        lambda client: client.embed_items(words=["c"]),
    ],
    "recommend_simple": [
        lambda client: client.predict("recommend_simple", {"history_ids": [["", "i1", "i2"]], "k": 2}),
        lambda client: client.predict("recommend_simple", {"history_ids": [["", "i1"], ["i7", ""]], "k": [4, 1]}),
    ],
}


class Recorder(grpc.UnaryUnaryClientInterceptor):
    """Keeps the inputs of the last prediction."""

    inputs: dict[str, np.ndarray]

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        if hasattr(request, "inputs"):
            self.inputs = {name: tf.make_ndarray(as_tensorflow(proto)) for name, proto in request.inputs.items()}
        return continuation(client_call_details, request)


def as_tensorflow(proto: Any) -> Any:
    return tf.make_tensor_proto(0).FromString(proto.SerializeToString())


def as_the_client_sends(server: Server, signature: str) -> list[dict[str, np.ndarray]]:
    recorder, sent = Recorder(), []
    with grpc.insecure_channel(server.address) as channel:
        client = Client(server.address, "ours", timeout=10.0, channel=grpc.intercept_channel(channel, recorder))
        for call in CALLS[signature]:
            call(client)
            sent.append(recorder.inputs)
    return sent


def with_padding(requests: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """What TensorFlow Serving makes of the requests of a batch (pad_variable_length_inputs): all as long as the longest, by
    copies of the first element of each."""

    def padded(array: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
        missing = [(0, 0)] + [(0, size - own) for size, own in zip(sizes, array.shape[1:], strict=True)]
        assert array.size or not any(behind for _, behind in missing), "an empty list is refused there"
        return np.pad(array, missing, constant_values=array.flat[0])

    longest = {name: tuple(np.max([one[name].shape[1:] for one in requests], axis=0)) for name in requests[0]}
    return [{name: padded(array, longest[name]) for name, array in one.items()} for one in requests]


def batched(function: Any, rows: int) -> Callable[..., dict[str, tf.Tensor]]:
    """The signature behind the op that batches in TensorFlow's servers; a batch starts when it has so many rows."""
    inputs = list(specs(function).values())

    @tf.function(input_signature=inputs, autograph=False)
    def run(*tensors: tf.Tensor) -> list[tf.Tensor]:
        outputs = function(**{spec.name: tensor for spec, tensor in zip(inputs, tensors, strict=True)})
        return [outputs[name] for name in sorted(outputs)]

    whole = run.get_concrete_function()

    # What `tf.nondifferentiable_batch_function` makes, but with a name: nameless ones share the sizes of the first.
    @tf.function(input_signature=inputs, autograph=False)
    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        return tf.raw_ops.BatchFunction(
            in_tensors=tensors,
            captured_tensors=whole.captured_inputs,
            f=whole,
            num_batch_threads=1,
            max_batch_size=rows,
            batch_timeout_micros=60_000_000,
            Tout=[output.dtype for output in whole.outputs],
            shared_name=f"batches of {whole.name.decode()}",
        )

    names = sorted(function.structured_outputs)
    tensors = lambda given: [tf.constant(given[spec.name], spec.dtype) for spec in inputs]  # noqa: E731
    return lambda **given: dict(zip(names, call(*tensors(given)), strict=True))


@pytest.mark.parametrize("signature", CALLS)
def test_tensorflow_s_own_batching_answers_as_if_each_request_were_alone(
    server: Server, loaded: Any, signature: str
) -> None:
    function, requests = loaded.signatures[signature], as_the_client_sends(server, signature)
    alone = [function(**{name: tf.constant(value) for name, value in one.items()}) for one in requests]
    call = batched(function, sum(len(next(iter(one.values()))) for one in requests))
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda one: call(**one), with_padding(requests)))
    widths = {answer["scores"].shape[1] for answer in together if "scores" in answer}
    assert len(widths) <= 1  # all were in one batch: each answer is as wide as the widest
    for answer, expected in zip(together, alone, strict=True):
        for name, value in expected.items():
            assert_begins_with(answer[name].numpy(), value.numpy())
        # Behind what was asked for there is nothing, but for candidates, which repeat the first.
        if "ids" in answer:
            assert (answer["ids"].numpy()[:, expected["ids"].shape[1] :] == b"").all()


def assert_begins_with(got: np.ndarray, expected: np.ndarray) -> None:
    assert len(got) == len(expected)
    begin = got[:, : expected.shape[1]]
    if expected.dtype == object:
        assert begin.tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(begin, expected, atol=1e-5)


# --- bad k, and versions that differ


@pytest.mark.parametrize(
    ("k", "message"),
    [
        ([3, 0], "k must be between 1 and 50; smallest and largest of the rows:] [0] [3]"),
        ([-1, 3], "k must be between 1 and 50; smallest and largest of the rows:] [-1] [3]"),
        ([51, 3], "k must be between 1 and 50; smallest and largest of the rows:] [3] [51]"),
        ([1, 2, 3], "k must be int32 [B], one for each row of query"),
        (3, 'Expects input "k" to be of shape [?] but [] is provided; give one k for each row ([10] for one row)'),
        ([[3], [3]], 'Expects input "k" to be of shape [?] but [2,1] is provided'),
        ([3, 2**31], "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ([3, 2.5], "JSON Value: 2.5 Type: Number is not of expected type: int32"),
    ],
)
def test_a_bad_k_is_a_wrong_request_that_says_why(server: Server, k: Any, message: str) -> None:
    asked = {"signature_name": "search", "inputs": {"query": ["a", "b"], "k": k}}
    status, answer = refused_by_rest(server, "/v1/models/ours:predict", data=asked)
    assert (status, message in answer.split("\n")[0]) == (400, True), answer


def test_the_description_names_the_version_of_the_contract(version: Path) -> None:
    assert layout.description(version)["contract"] == contract.VERSION == 2


@pytest.fixture(scope="module")
def servable(version: Path) -> Iterator[Servable]:
    servable = load(version, "ours", 1)
    yield servable
    servable.close()


@pytest.mark.parametrize("shape", [(), (1,), (2, 1), (2, 2, 2), (0,)])
@pytest.mark.parametrize("signature", ["recommend_simple", "search"])
def test_the_graph_itself_names_a_k_of_another_shape(
    servable: Servable, signature: str, shape: tuple[int, ...]
) -> None:
    """As in TensorFlow Serving, which leaves the shapes to the graph; the session's own check in Python is passed by."""
    inputs = {"recommend_simple": {"history_ids": [["i1"], ["i2"]]}, "search": {"query": ["a", "b"]}}[signature]
    arrays = {name: np.array(value, object) for name, value in inputs.items()} | {"k": np.ones(shape, np.int32)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"k must be int32 \[B\], one for each row of ") as caught:
        servable.run(servable.signatures[signature], arrays, ["ids"])
    assert "[10] asks for ten in one row" in caught.value.message.split("\n")[0]


def test_one_k_for_each_row_sent_to_an_older_export_is_refused_with_the_remedy() -> None:
    older = TensorInfo(dtype=tf.int32.as_datatype_enum)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"older Triptych: give one number .* \(triptych export\)$"
    ):
        predict_util.check_shape("k", older, [2])
