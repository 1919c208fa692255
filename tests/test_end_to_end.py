"""The smallest real run: generate, build, train, evaluate, export, serve, ask. Every stage is done once and shared."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from toy_server import server_options, silent
from whole import Whole

from pipelines.evaluation import evaluator as evaluate
from pipelines.exporting.sample_requests import recommend_inputs
from pipelines.hybrid.trained_run import load_trained
from pipelines.model.model_factory import resolve_config
from pipelines.model.session import Session
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.held_out import held_out_requests
from serving.client.client import Client
from serving.export_check.gate import TEXT_OPS, ask_fresh_process, ops_in, unknown_ops
from serving.graph import contract
from serving.server.server import Server
from serving.server.sources import folder_source
from serving.wire import layout
from serving.wire.errors import InvalidRequestError
from tfrecs.schema import Manifest


@pytest.fixture(scope="session")
def client(whole: Whole):
    server = Server(folder_source(whole.models), server_options(), silent)
    with server, Client(f"127.0.0.1:{server.port}", "demo", timeout=30.0) as connected:
        yield connected


def test_the_run_folder_holds_what_the_readme_promises(whole: Whole) -> None:
    rows = [json.loads(line) for line in (whole.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    used = resolve_config(whole.config, Manifest.load(whole.records).schema_)
    assert (whole.run / "config.yaml").read_text() == used.to_yaml()
    assert list((whole.run / "logs").glob("train/events.*"))
    assert {"report.json", "report.md", "plots"} <= {path.name for path in (whole.run / "reports").iterdir()}


def test_training_lowers_the_loss(whole: Whole) -> None:
    rows = [json.loads(line) for line in (whole.run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["retrieval_loss"] < rows[0]["retrieval_loss"]


def test_the_report_has_the_layout_of_the_design(whole: Whole) -> None:
    report = json.loads((whole.run / "reports" / "report.json").read_text())
    assert {"dataset", "protocol", "model", "baselines", "slices", "ranking", "oracle"} <= set(report)
    assert {"random", "popularity", "item_knn", "item_knn_last20"} <= set(report["baselines"])
    assert {"cold_items", "warm_items", "cold_users"} <= set(report["slices"])
    assert {"without_text", "without_image", "without_audio", "without_mood"} <= set(report["slices"])
    assert set(report["ranking"]) == {"like", "rating"}
    for k in (5, 10, 20, 50):
        for name in ("recall", "ndcg", "precision", "f1", "hit", "map"):
            assert 0 <= report["model"][f"{name}@{k}"] <= 1
    # The generator's true preference is a ceiling for whoever does not know it.
    assert report["oracle"]["recall@20"] > report["baselines"]["popularity"]["recall@20"]


def test_slices_are_parts_of_the_test_split(whole: Whole) -> None:
    slices = whole.evaluation.report.slices
    total = slices["without_text"]["queries"]
    assert slices["cold_items"]["queries"] + slices["warm_items"]["queries"] == total
    mean = sum(
        slices[name]["recall@20"] * slices[name]["queries"]
        for name in ("cold_items", "warm_items")
        if slices[name]["queries"]
    )
    assert mean / total == pytest.approx(whole.evaluation.report.model["recall@20"], abs=1e-9)


@pytest.mark.slow
def test_evaluating_again_gives_the_same_numbers(plain: Whole) -> None:
    again = evaluate.evaluate(load_trained(RunFolder(plain.run)), commands={}, curve=[])
    assert again.model == pytest.approx(dict(plain.evaluation.report.model), abs=1e-9)


@dataclass(frozen=True)
class Asked:
    """Requests by signature, and the answers of a process that never imports us. Row 0 has the longest history."""

    inputs: dict[str, dict[str, np.ndarray]]
    outputs: dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def asked(whole: Whole, session: Session) -> Asked:
    requests = held_out_requests(session)
    rows = np.array([int(np.argmax([len(history) for history in requests.queries.histories])), *range(5)])
    inputs = recommend_inputs(session.manifest.schema_, session.catalogue.ids, requests, rows, 20)
    ids = session.catalogue.ids.astype(object)
    row = _complete_items(whole.data)[0]
    signatures = {
        contract.RECOMMEND: {**inputs, "k": np.full([6], 7, np.int32)},
        contract.RANK: {
            **{k: v for k, v in inputs.items() if k != "k"},
            "candidate_ids": np.array([[*ids[:3], "?"]] * 6, object),
        },
        contract.SEARCH: {"query": np.array([row["description"], ""], object), "k": np.full([2], 4, np.int32)},
        contract.SIMILAR: {"item_ids": np.array([ids[5], "?"], object), "k": np.full([2], 500, np.int32)},
        contract.EMBED_ITEMS: {
            "text": np.array([row["description"], ""], object),
            "image": np.array([(whole.data / row["image"]).read_bytes(), b""], object),
            "audio": np.array([(whole.data / row["audio"]).read_bytes(), b""], object),
            "mood": np.array([[row["mood"]], [""]], object),
        },
    }
    # The gate asks by an absolute path.
    answers = ask_fresh_process(Path(os.path.relpath(whole.export.path)), signatures)
    return Asked(signatures, answers.outputs)


@pytest.mark.slow
def test_every_signature_answers_in_a_process_that_never_imports_us(
    whole: Whole, session: Session, asked: Asked
) -> None:
    inputs, outputs, ids = asked.inputs[contract.RECOMMEND], asked.outputs, session.catalogue.ids.astype(object)
    count = len(ids)
    assert outputs["recommend"]["ids"].shape == (6, 7)
    assert outputs["recommend"]["modality_weights"].shape == (6, 7, 4)
    np.testing.assert_allclose(outputs["recommend"]["modality_weights"].sum(axis=-1), 1.0, atol=1e-5)
    assert ((outputs["recommend"]["rating"] >= 1) & (outputs["recommend"]["rating"] <= 5)).all()
    assert ((outputs["recommend"]["like"] >= 0) & (outputs["recommend"]["like"] <= 1)).all()
    for history, because in zip(inputs["history_ids"], outputs["recommend"]["because_ids"], strict=True):
        assert {name.decode() for name in because} <= set(history.tolist())
    assert np.isneginf(outputs["rank"]["scores"][:, 3]).all()
    assert np.isfinite(outputs["rank"]["scores"][:, :3]).all()
    assert np.isnan(outputs["rank"]["like"][:, 3]).all()
    assert (outputs["search"]["ids"][1] == b"").all()
    assert len(set(outputs["search"]["ids"][0])) == 4
    assert ids[5].encode() not in outputs["similar"]["ids"][0]
    assert len(set(outputs["similar"]["ids"][0]) - {b""}) == count - 1
    assert (outputs["similar"]["ids"][1] == b"").all()
    np.testing.assert_allclose(outputs["embed_items"]["modality_weights"].sum(axis=1), [1.0, 0.0], atol=1e-5)
    ops = ops_in(whole.export.path)
    assert unknown_ops(ops) == []
    assert ops & TEXT_OPS


@pytest.mark.slow
def test_served_new_items_equal_the_catalogue_items_with_the_same_content(
    whole: Whole, session: Session, client: Client
) -> None:
    rows = _complete_items(whole.data)[:16]
    embedded = client.embed_items(
        text=[row["description"] for row in rows],
        image=[(whole.data / row["image"]).read_bytes() for row in rows],
        audio=[(whole.data / row["audio"]).read_bytes() for row in rows],
        mood=[[row["mood"]] for row in rows],
    ).embedding
    ids = session.catalogue.ids.tolist()
    model = session.model
    known = model.id_index
    model.id_index = tf.fill([len(ids)], -1)  # content alone
    table = model.item_embeddings()[0].numpy()
    model.id_index = known
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    cosines = (embedded / np.linalg.norm(embedded, axis=1, keepdims=True)) @ table.T
    own = np.array([ids.index(row["item_id"]) for row in rows])
    # Not 1: the records hold the picture resized and compressed again, and a model of three epochs magnifies what little
    # its encoders tell apart. Still, every item must find itself among all of them.
    assert np.median(cosines[np.arange(len(own)), own]) > 0.9
    assert (cosines.argmax(axis=1) == own).mean() >= 0.9, cosines.argmax(axis=1) == own


def test_a_broken_picture_or_clip_is_refused_and_a_missing_one_is_missing(whole: Whole, client: Client) -> None:
    row = _complete_items(whole.data)[0]
    picture, clip = ((whole.data / row[key]).read_bytes() for key in ("image", "audio"))
    good = {"text": [row["description"]] * 3, "image": [picture] * 3, "audio": [clip] * 3, "mood": [[row["mood"]]] * 3}
    read = {"image": "not JPEG, PNG, GIF or BMP", "audio": "not WAV with 8, 16, 24 or 32-bit PCM or floats"}
    for name, broken in (("image", picture[:99]), ("image", b"RIFF"), ("audio", clip[:99]), ("audio", picture)):
        with pytest.raises(InvalidRequestError, match=rf"{name} cannot be used: .*{read[name]}, in row\] \[2\]"):
            client.embed_items(**{**good, name: [good[name][0], None, broken]})
    found = client.embed_items(**{**good, "image": [picture, None, picture]})
    alone = client.embed_items(text=good["text"][:1], image=[picture], audio=[clip], mood=[[row["mood"]]])
    np.testing.assert_allclose(found.embedding[0], alone.embedding[0], atol=1e-5)
    assert np.abs(found.embedding[0] - found.embedding[1]).max() > 1e-3
    assert found.modality_weights[1, 1] == 0


@pytest.mark.slow
def test_the_client_gets_what_a_fresh_process_computes(asked: Asked, client: Client) -> None:
    inputs, outputs = asked.inputs[contract.RECOMMEND], asked.outputs[contract.RECOMMEND]
    found = client.recommend(
        history_ids=inputs["history_ids"][0].tolist(),
        history_values=inputs["history_values"][0].tolist(),
        history_times=inputs["history_times"][0].tolist(),
        now=int(inputs["now"][0]),
        k=7,
    )
    assert [item.id for item in found] == [name.decode() for name in outputs["ids"][0]]
    np.testing.assert_allclose([item.score for item in found], outputs["scores"][0], rtol=1e-4)


NOON = 1_700_000_000  # unix seconds


def test_padding_and_unknown_ids_change_nothing(session: Session, client: Client) -> None:
    ids = session.catalogue.ids.tolist()
    plain = client.recommend(history_ids=ids[:3], history_times=[NOON - 90, NOON - 80, NOON - 70], now=NOON, k=6)
    padded = client.recommend(
        history_ids=["", ids[0], "nobody knows me", ids[1], "", ids[2]],
        history_times=[NOON - 95, NOON - 90, 0, NOON - 80, NOON - 92, NOON - 70],
        now=NOON,
        k=6,
    )
    assert [item.id for item in padded] == [item.id for item in plain]
    np.testing.assert_allclose([item.score for item in padded], [item.score for item in plain], rtol=1e-4)


def test_exclusions_and_category_filters_are_kept(whole: Whole, session: Session, client: Client) -> None:
    moods = {row["item_id"]: row["mood"] for row in _items(whole.data)}
    first = client.recommend(history_ids=[], k=3)
    rest = client.recommend(history_ids=[], k=80, exclude_ids=[item.id for item in first])
    assert not {item.id for item in first} & {item.id for item in rest}
    assert len(rest) == len(moods) - 3
    cosy = client.recommend(history_ids=[], k=80, categories=["cosy"])
    assert {item.id for item in cosy} == {item for item, mood in moods.items() if mood == "cosy"}
    assert client.recommend(history_ids=[], k=5, categories=["no such mood"]) == []


def test_the_manifest_and_the_export_tell_of_each_other(whole: Whole) -> None:
    description = json.loads((whole.export.path / "assets.extra" / "triptych.json").read_text())
    manifest = Manifest.load(whole.records)
    assert description["modalities"] == list(manifest.schema_.modalities)
    assert set(description["signatures"]) == {
        "recommend",
        "recommend_simple",
        "rank",
        "search",
        "similar",
        "embed_items",
        "serving_default",
    }
    assert len(layout.titles(whole.export.path)) == manifest.items
    assert whole.export.version == 1
    assert [path.name for path in (whole.models / "demo").iterdir()] == ["1"]


def _items(data: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (data / "items.jsonl").read_text().splitlines()]


def _complete_items(data: Path) -> list[dict[str, str]]:
    return [row for row in _items(data) if all(row[key] for key in ("description", "image", "audio"))]
