"""The client's requests and results, over real sockets with toy models."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from toy_models import export_scale, export_shop, place
from toy_server import MEGABYTE, running

from serving.client import queries
from serving.client.client import Client, VersionStatus
from serving.client.pictures import readable
from serving.server.server import Server
from serving.wire import errors, metadata, stubs
from serving.wire.tensors import decode


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("saved")
    export_shop(base / "shop")
    export_scale(base / "scale", 2.0)
    return base


@pytest.fixture(scope="module")
def server(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    place(saved / "shop", models / "shop", 1)
    place(saved / "scale", models / "scale", 4)
    with running(models, max_message_bytes=8 * MEGABYTE) as server:
        yield server


NOW = 1_700_000_000  # unix seconds


class Recorder(grpc.UnaryUnaryClientInterceptor):
    """Keeps every request that passes."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.requests.append(request)
        return continuation(client_call_details, request)

    def last_inputs(self) -> dict[str, np.ndarray]:
        return {name: decode(proto, limit_bytes=0) for name, proto in self.requests[-1].inputs.items()}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def shop(server: Server, recorder: Recorder) -> Iterator[Client]:
    with grpc.insecure_channel(server.address) as channel:
        yield Client(server.address, "shop", timeout=10.0, channel=grpc.intercept_channel(channel, recorder))


@pytest.fixture
def scale(server: Server) -> Iterator[Client]:
    with Client(server.address, "scale", timeout=10.0) as client:
        yield client


# --- recommend


def test_recommend_returns_the_items_with_labels_weights_and_reason(shop):
    first, second = shop.recommend(history_ids=["x", "y"], k=2)
    assert (first.id, first.score, first.because_id) == ("a", 5.0, "y")
    assert first.labels == {"like": 0.5}
    assert first.modality_weights.tolist() == [0.25, 0.75]
    assert (second.id, second.score) == ("b", 4.0)


def test_padding_is_not_a_recommendation(shop):
    assert [item.id for item in shop.recommend(k=10)] == ["a", "b", "c", "d", "e"]
    assert [item.id for item in shop.recommend(k=10, exclude_ids=["a", "b", "d", "e"])] == ["c"]


def test_recommend_sends_every_input_of_the_contract_for_a_batch_of_one(shop, recorder):
    shop.recommend(
        k=3,
        history_ids=["1", "50"],
        history_values=[5, 3.5],
        history_times=[NOW - 20, NOW - 10],
        now=NOW,
        query="jazz",
        exclude_ids=["7"],
        categories=["Drama", "Film-Noir"],
        diversity=0.5,
        device="phone",
        age=33,
    )
    sent = recorder.last_inputs()
    assert {name: value.tolist() for name, value in sent.items()} == {
        "history_ids": [[b"", b"1", b"50"]],
        "history_values": [[0.0, 5.0, 3.5]],
        "history_times": [[0, NOW - 20, NOW - 10]],
        "now": [NOW],
        "query": [b"jazz"],
        "exclude_ids": [[b"", b"7"]],
        "categories": [[b"", b"Drama", b"Film-Noir"]],
        "diversity": [0.5],
        "k": [3],
        "device": [b"phone"],
        "age": [33.0],
    }
    assert [sent[name].dtype.name for name in ("history_values", "now", "k", "age")] == [
        "float32",
        "int64",
        "int32",
        "float32",
    ]


def test_what_the_caller_leaves_out_is_sent_as_nothing_and_context_as_missing(shop, recorder):
    before = int(time.time())
    shop.recommend(k=1)
    sent = recorder.last_inputs()
    # One element each, and it is padding: TensorFlow Serving's batching cannot lengthen an empty list.
    assert sent["history_ids"].tolist() == sent["exclude_ids"].tolist() == sent["categories"].tolist() == [[b""]]
    assert (sent["history_values"].tolist(), sent["history_times"].tolist()) == ([[0.0]], [[0]])
    assert sent["query"].tolist() == [b""]
    assert sent["diversity"].tolist() == [0.0]
    assert sent["device"].tolist() == [b""]
    assert np.isnan(sent["age"]).tolist() == [True]
    assert before <= sent["now"][0] <= time.time()


def test_a_history_without_values_and_times_has_ones_and_unknown_times(shop, recorder):
    shop.recommend(k=1, history_ids=["1", "2"])
    sent = recorder.last_inputs()
    assert np.isnan(sent["history_values"]).tolist() == [[False, True, True]]  # unknown, not a rating of one
    assert sent["history_times"].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history_ids": ["1"], "history_values": [1.0, 2.0]}, "history_values has 2 entries for 1 history_ids"),
        ({"history_times": [1]}, "history_times has 1 entries for 0 history_ids"),
        ({"history_ids": "1,50"}, "history_ids takes a list of strings"),
        ({"history_ids": [True]}, "input history_ids: True is no id; ids are strings or whole numbers"),
        ({"history_ids": ["1", 1.5]}, "input history_ids: 1.5 is no id"),
        ({"exclude_ids": [None]}, "input exclude_ids: None is no id"),
        (
            {"history_ids": ["1"], "history_times": [NOW * 1000]},
            f"history_times: {NOW}000 looks like milliseconds; unix",
        ),
        ({"history_ids": ["1"], "history_times": [np.int64(-5)]}, "history_times: -5 is before 1970"),
        ({"now": 17}, "now: 17 would be in 1970 in seconds"),
        ({"now": 1e10}, "now: 10000000000.0 would be after 2099 in seconds"),
        ({"k": 0}, "^input k: 0 results cannot be asked for; k is at least 1$"),
        ({"k": [-3]}, "^input k: -3 results cannot be asked for; k is at least 1$"),
        ({"k": [2, 3]}, r"^input k: shape \[2\] for 1 rows; give one number, or one for each row$"),
        ({"k": [[2]]}, r"^input k: shape \[1, 1\] for 1 rows"),
        ({"k": []}, r"^input k: shape \[0\] for 1 rows"),
        ({"k": True}, "input k: bool values where int32 is expected"),
        ({"k": 2.5}, "input k: double values where int32 is expected"),
        ({"k": 2**40}, "input k: a value does not fit int32"),
        ({"devise": "phone"}, "signature recommend has no input devise; it has age, categories, device"),
        ({"device": 3}, "input device: int64 values where string is expected"),
        ({"candidate_ids": "1"}, "has no input candidate_ids"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(shop, recorder, arguments, message):
    with pytest.raises(errors.InvalidRequestError, match=message):
        shop.recommend(**{"k": 1, **arguments})
    assert all(isinstance(request, stubs.message("GetModelMetadataRequest")) for request in recorder.requests)


# --- the other calls of the contract


def test_rank_scores_the_candidates_in_their_order_with_the_inputs_the_signature_has(shop, recorder):
    ranked = shop.rank(["c", "nobody", "a"], history_ids=["x"])
    assert [(item.id, item.score) for item in ranked] == [("c", 3.0), ("nobody", 0.0), ("a", 5.0)]
    assert [item.labels["like"] for item in ranked] == pytest.approx([0.3, 0.0, 0.5])
    assert set(recorder.last_inputs()) == {"history_ids", "candidate_ids", "device"}


NUMBERS = [1, np.int64(50), 7.0, np.float32(8), "9"]
AS_IDS = [b"1", b"50", b"7", b"8", b"9"]


def test_whole_numbers_are_ids_in_every_call(shop, recorder):
    shop.recommend(k=1, history_ids=NUMBERS, exclude_ids=np.array([7, 8]))
    sent = recorder.last_inputs()
    assert (sent["history_ids"].tolist(), sent["exclude_ids"].tolist()) == ([[b"", *AS_IDS]], [[b"", b"7", b"8"]])
    assert [item.id for item in shop.rank(NUMBERS, history_ids=(3,))] == ["1", "50", "7", "8", "9"]
    sent = recorder.last_inputs()
    assert (sent["candidate_ids"].tolist(), sent["history_ids"].tolist()) == ([AS_IDS], [[b"", b"3"]])
    shop.similar(np.int32(4), k=1)
    assert recorder.last_inputs()["item_ids"].tolist() == [b"4"]
    shop.predict(
        "rank", {"history_ids": np.zeros((1, 0), np.int64), "candidate_ids": np.array([[1, 2]]), "device": [""]}
    )
    sent = recorder.last_inputs()
    assert (sent["candidate_ids"].tolist(), sent["history_ids"].shape) == ([[b"1", b"2"]], (1, 0))


def test_what_is_no_id_is_refused_by_name(shop):
    for call in (
        lambda: shop.rank([True]),
        lambda: shop.rank("12"),
        lambda: shop.similar(None, k=1),
        lambda: shop.rank([float("nan")]),
    ):
        with pytest.raises(errors.InvalidRequestError, match=r"candidate_ids|item_ids"):
            call()


def test_what_a_batch_on_the_server_adds_behind_the_answer_is_left_out():
    """TensorFlow Serving's batching answers every request with the columns of the longest one."""
    scores = np.array([[3.0, 5.0, 3.0, 3.0]])
    ranked = queries.scored({"scores": scores, "like": scores / 10}, ["c", "a"])
    assert [(item.id, item.score, item.labels["like"]) for item in ranked] == [("c", 3.0, 0.3), ("a", 5.0, 0.5)]
    found = queries.scored({"ids": np.array([[b"c", b"", b""]], object), "scores": scores[:, :3]}, None)
    assert [item.id for item in found] == ["c"]


def test_rank_refuses_what_the_signature_cannot_use(shop):
    with pytest.raises(errors.InvalidRequestError, match="signature rank has no input query"):
        shop.rank(["a"], query="jazz")


def test_search_and_similar_return_ids_and_scores_best_first(shop):
    assert shop.search("d", k=2) == [queries.Scored("d", 1.0, {}), queries.Scored("a", 0.0, {})]
    assert shop.similar("e", k=1) == [queries.Scored("e", 1.0, {})]


def test_k_is_one_number_for_all_rows_or_one_for_each(shop, recorder):
    assert shop.search("d", k=[2]) == shop.search("d", k=2)
    for k, sent in ((2, [2, 2]), ([2, 1], [2, 1]), (np.array([1, 2]), [1, 2])):
        outputs = shop.predict("search", {"query": ["d", "b"], "k": k})
        assert recorder.last_inputs()["k"].tolist() == sent
        assert [item != b"" for item in outputs["ids"][:, 1]] == [count == 2 for count in sent]
    with pytest.raises(
        errors.InvalidRequestError, match=r"^input k: shape \[3\] for 2 rows; give one number, or one for"
    ):
        shop.predict("search", {"query": ["d", "b"], "k": [1, 2, 3]})


OLDER = {"query": metadata.TensorSpec("string", (None,)), "k": metadata.TensorSpec("int32", ())}


def test_an_older_export_gets_its_one_number_for_all_rows_and_else_one_clear_line():
    def sent(k, rows):
        return queries.with_rows({"query": np.full(rows, b"a", object), "k": np.asarray(k, np.int32)}, OLDER)["k"]

    assert [sent(k, rows).shape for k, rows in ((3, 1), ([3], 1), ([3, 3], 2), (3, 2))] == [()] * 4
    with pytest.raises(
        errors.InvalidRequestError, match=r"^input k: this export takes one number .* \(triptych export\)$"
    ):
        sent([3, 4], 2)


def test_items_are_embedded_from_raw_modalities_and_what_they_lack_is_missing(shop):
    result = shop.embed_items(
        text=["four", None, ""], image=[b"\xff\x00\x00", None, b""], timbre=[[1, 2, 3.5], None, [0, 0, 0]],
        genres=[["x", "y"], None, ["z"]],
    )  # fmt: skip
    assert result.embedding.tolist() == [[4, 3, 6.5, 2], [0, 0, -1, 0], [0, 0, 0, 1]]
    assert result.modality_weights.shape == (3, 4)


def test_modalities_that_are_left_out_are_missing_in_every_item(shop):
    assert shop.embed_items(image=[b"1", b"12"]).embedding.tolist() == [[0, 1, -1, 0], [0, 2, -1, 0]]
    assert shop.embed_items(timbre=[None, None]).embedding.tolist() == [[0, 0, -1, 0], [0, 0, -1, 0]]


def webp(**options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 30)).save(buffer, "WEBP", lossless=True, **options)
    return buffer.getvalue()


def test_webp_is_sent_as_a_png_of_the_same_pixels(shop: Client) -> None:
    sent = readable("image", webp())
    with Image.open(io.BytesIO(sent)) as picture:
        assert (picture.format, picture.size, picture.convert("RGB").getpixel((0, 0))) == ("PNG", (8, 6), (200, 30, 30))
    assert shop.embed_items(image=[webp(), b"12"]).embedding[:, 1].tolist() == [len(sent), 2]
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(io.BytesIO(readable("image", webp(exif=turned)))) as picture:
        assert picture.size == (6, 8)


def test_webp_that_cannot_be_converted_is_refused_by_name(shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.InvalidRequestError, match=r"^input image: not a readable WebP picture"):
        shop.embed_items(image=[webp()[:20]])
    picture = webp()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(errors.InvalidRequestError, match=r"^input image: servers read no WebP; install Pillow"):
        shop.embed_items(image=[picture])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "same number of items in every modality"),
        ({"text": ["a"], "image": [b"1", b"2"]}, "text 1, image 2"),
        ({"video": [b"1"]}, "signature embed_items has no input video; it has genres, image, text, timbre"),
        ({"timbre": [[1, 2, 3], [1, 2]]}, "input timbre: vectors of 3 and of 2 numbers"),
        ({"text": [3]}, "input text: int64 values where string"),
    ],
)
def test_wrong_modalities_are_named(shop, raw, message):
    with pytest.raises(errors.InvalidRequestError, match=message):
        shop.embed_items(**raw)


def test_a_signature_that_the_model_lacks_is_named(scale):
    with pytest.raises(errors.FailedPreconditionError, match="model scale has no signature recommend; it has echo"):
        scale.recommend(k=1)


# --- predict, metadata, status


def test_predict_takes_lists_and_returns_arrays(scale):
    outputs = scale.predict("serving_default", {"x": [[1, 2]]})
    assert outputs["y"].tolist() == [[2.0, 4.0]]
    assert outputs["y"].dtype == np.float32
    assert scale.predict("echo", {"word": ["é"], "shout": True}, ["word"]) == {
        "word": np.array(["é!".encode()], object)
    }
    assert scale.predict("serving_default", {"x": np.empty((0, 2))}, version=4)["y"].shape == (0, 2)


def test_metadata_has_the_signatures_with_types_and_shapes(scale):
    found = scale.metadata()
    assert found.version == 4
    assert sorted(found.signatures) == ["echo", "scalar", "serving_default", "slow", "strict"]
    echo = found.signatures["echo"]
    assert echo.inputs == {"word": metadata.TensorSpec("string", (None,)), "shout": metadata.TensorSpec("bool", ())}
    assert echo.outputs["id"] == metadata.TensorSpec("int64", (None,))


def test_metadata_is_asked_for_once(shop, recorder):
    shop.search("a", k=1)
    shop.search("a", k=1)
    names = [type(request).__name__ for request in recorder.requests]
    assert names == ["GetModelMetadataRequest", "PredictRequest", "PredictRequest"]


def wait_for_version(client: Client, version: int) -> None:
    end = time.monotonic() + 20
    while [entry.version for entry in client.status() if entry.state == "AVAILABLE"] != [version]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_metadata_is_asked_for_anew_when_another_version_answers(saved, tmp_path):
    place(saved / "scale", tmp_path / "model", 1)
    with running(tmp_path) as server, Client(server.address, "model", timeout=10.0) as client:
        assert client.metadata().version == 1
        place(saved / "scale", tmp_path / "model", 2)
        wait_for_version(client, 2)
        assert client.metadata().version == 1  # nothing has answered since
        client.predict("serving_default", {"x": [[1.0, 2.0]]})
        assert client.metadata().version == 2


def test_metadata_is_asked_for_anew_when_the_server_refuses_what_it_took_before(saved, tmp_path):
    place(saved / "scale", tmp_path / "model", 1)
    with running(tmp_path) as server, Client(server.address, "model", timeout=10.0) as client:
        client.predict("serving_default", {"x": [[1.0, 2.0]]})
        place(saved / "shop", tmp_path / "model", 2)
        wait_for_version(client, 2)
        with pytest.raises(errors.InvalidRequestError, match=r"Sent extra: \{x\}"):
            client.predict("serving_default", {"x": [[1.0, 2.0]]})
        assert client.metadata().version == 2
        assert client.recommend(k=1)[0].id == "a"


def test_status_lists_the_versions(scale):
    assert scale.status() == [VersionStatus(4, "AVAILABLE", "")]
