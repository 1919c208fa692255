"""Items without any feature: a bare log goes the whole way, and what content gives is left out and said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fastapi.testclient import TestClient
from toy_server import server_options, silent

from pipelines.building import builder as build
from pipelines.config import Config, load_config
from pipelines.evaluation import evaluator as evaluate
from pipelines.exporting import exporter as export
from pipelines.exporting.catalogue_update import UpdateJob
from pipelines.hybrid.trained_run import load_trained
from pipelines.inspection import inspector as inspect
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.held_out import held_out_requests
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.search.fitting import load_or_fit_text, text_index
from pipelines.serving import query
from pipelines.training import pretraining
from pipelines.training import trainer as train
from pipelines.webapp.wiring import AppJob, make_components, make_options
from serving.app.http.service import create_app
from serving.client.client import Client
from serving.server.server import Server
from serving.server.sources import folder_source
from serving.wire import layout
from serving.wire.errors import FailedPreconditionError, InvalidRequestError
from tfrecs.errors import DataError, SpecError
from tfrecs.reading.item_records import ItemRecords
from tfrecs.reading.reader import load_catalogue
from tfrecs.records import item_example
from tfrecs.schema import Manifest
from tfrecs.spec.infer import infer_spec

SMALL = (
    "user.hidden_dim=16",
    "user.num_layers=1",
    "user.max_history=10",
    "train.epochs=1",
    "train.batch_size=16",
    "train.steps_per_call=1",
    "hybrid.regularizations=[100]",
    "hybrid.softness=[1]",
    "evaluate.diversities=[0]",
    "export.parity_requests=10",
)
USERS, EVENTS = 12, 10
START = 1_513_000_000  # unix seconds
ITEMS = [*(f"i{number}" for number in range(USERS + EVENTS - 1)), "new"]


def log_lines() -> list[str]:
    """User u's n-th event is item i(u + n) at the second START + 1000 n + u; the last of all is the first of item `new`."""
    lines = [
        f"u{user},i{user + number},{START + 1000 * number + user}" for user in range(USERS) for number in range(EVENTS)
    ]
    return [*lines, f"u0,new,{START + 20_000}"]


def make_log(folder: Path) -> Path:
    folder.mkdir()
    (folder / "log.csv").write_text("who,what,when\n" + "".join(f"{line}\n" for line in log_lines()))
    (folder / "dataset.yaml").write_text(
        "name: bare\ninteractions: {file: log.csv, user: who, item: what, time: when}\n"
    )
    return folder


@dataclass(frozen=True)
class Bare:
    data: Path
    records: Path
    run: Path
    models: Path
    config: Config
    said: dict[str, str]
    evaluation: evaluate.EvaluateResult


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    root = tmp_path_factory.mktemp("bare")
    config = load_config(None, SMALL)
    said: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:

        def listen(step: str, *modules: str) -> None:
            said[step] = ""

            def say(text: str) -> None:
                said[step] += f"{text}\n"

            for module in modules:
                patch.setattr(f"{module}.say", say)

        listen("build", "pipelines.building.builder")
        data = make_log(root / "data")
        records = build.run(build.BuildJob(data, root / "records", config)).out
        listen("train", "pipelines.training.trainer")
        train.run(train.TrainJob(records, root / "run", config))
        listen("evaluate", "pipelines.evaluation.evaluator")
        evaluation = evaluate.run(evaluate.EvaluateJob(root / "run"))
    export.run(export.ExportJob(root / "run", root / "models" / "bare"))
    return Bare(data, records, root / "run", root / "models", config, said, evaluation)


@pytest.fixture(scope="module")
def target(bare: Bare) -> Iterator[str]:
    with Server(folder_source(bare.models), server_options(), silent) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def client(target: str) -> Iterator[Client]:
    with Client(target, "bare", timeout=30.0) as connected:
        yield connected


def test_the_catalogue_of_a_log_is_the_items_that_it_names_in_the_order_of_their_first_event(bare: Bare) -> None:
    manifest = Manifest.load(bare.records)
    facts = layout.item_facts(bare.models / "bare" / "1")
    assert facts is not None
    assert facts.ids.tolist() == ITEMS
    assert (manifest.items, manifest.coverage, manifest.interactions) == (22, {}, 121)
    assert not (bare.records / "vocab.txt").exists()


def test_each_step_says_what_it_leaves_out(bare: Bare) -> None:
    assert "22 items (ids alone)" in bare.said["build"]
    assert "what content gives" in bare.said["build"]
    assert "the stage of co-occurrences is skipped" in bare.said["train"]
    assert "with ids only" in bare.said["train"]
    assert "cold items and missing content are not measured" in bare.said["evaluate"]
    assert "cold items and missing content are not measured" in (bare.run / "reports" / "report.md").read_text()


def test_the_report_has_no_part_about_content(bare: Bare) -> None:
    report = json.loads((bare.run / "reports" / "report.json").read_text())
    assert {"warm_items", "cold_users"} <= set(report["slices"])
    assert not [name for name in report["slices"] if name.startswith("without_") or name == "cold_items"]
    assert "missing_content" not in report
    assert "modality_weights" not in report


def test_the_embedding_of_an_item_is_its_id_embedding_and_that_of_a_new_one_the_mean(bare: Bare) -> None:
    trained = load_trained(RunFolder(bare.run))
    index = trained.item_index()
    ids = trained.model.item_tower.id_embeddings.numpy()[:-1]  # the last row is for items without one
    warm = ~trained.is_cold
    assert trained.catalogue.ids[~warm].tolist() == ["i19", "i20", "new"]
    np.testing.assert_array_equal(index.item_embeddings[warm], ids[warm])
    np.testing.assert_allclose(index.item_embeddings[~warm], np.tile(ids[warm].mean(axis=0), [3, 1]), rtol=1e-6)
    assert index.modality_weights.shape == (22, 0)
    hybrid = trained.hybrid_score(index)
    assert hybrid is not None
    popularity = hybrid.popularity.numpy()
    np.testing.assert_allclose(popularity[~warm], popularity[warm].mean(), rtol=1e-6)


def test_the_export_answers_as_python_does_and_offers_only_what_bare_ids_can(bare: Bare, client: Client) -> None:
    gate = json.loads((bare.models / "bare" / "1" / "assets.extra" / "gate.json").read_text())
    assert gate["requests"] == 10
    assert gate["worst_difference"] < 1e-4
    assert set(client.metadata().signatures) == {"recommend", "serving_default", "recommend_simple", "rank", "similar"}
    found = client.recommend(history_ids=["i3", "i4"], k=5)
    assert len({item.id for item in found} - {"i3", "i4"}) == 5
    assert len(client.similar("i3", k=3)) == 3
    with pytest.raises(FailedPreconditionError, match="search"):
        client.search("harbour", k=2)


def test_a_text_query_is_refused_with_the_reason(bare: Bare, target: str) -> None:
    job = query.QueryJob(target, "bare", ("i3",), "harbour", 3, 0.0, (), 30.0, bare.models, True)
    with pytest.raises(InvalidRequestError, match="neither a text nor titles"):
        query.run(job)


def test_cards_of_the_app_show_ids(bare: Bare, target: str, tmp_path: Path) -> None:
    app = bare.config.app.model_copy(update={"hosts": ("testserver",), "timeout": 30.0})
    job = AppJob(bare.config.model_copy(update={"app": app}), "bare", bare.data, bare.models, tmp_path, target)
    with TestClient(create_app(make_components(job, target), make_options(job, "127.0.0.1"))) as page:
        cards = page.get("/recommend", params={"user": "ann", "k": 3}).json()["items"]
        assert [(card["title"], card["text"], card["media"]) for card in cards] == [(c["id"], "", {}) for c in cards]
        assert page.get("/similar", params={"item": "i3", "k": 2}).json()["item"]["title"] == "i3"
        refused = page.get("/search", params={"turn": "harbour"})
        assert (refused.status_code, "takes no text" in refused.text) == (422, True)
        assert len(page.get("/picker", params={"k": 4}).json()["items"]) == 4


def test_records_without_features_can_be_inspected(
    bare: Bare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect.run(inspect.InspectJob(bare.records, bare.config, tmp_path / "page.html"))
    assert "22 items (ids alone)" in capsys.readouterr().out
    assert "<h3>i3 <small>i3" in (tmp_path / "page.html").read_text()


def test_pretraining_on_bare_ids_is_refused(bare: Bare, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to learn from items alone"):
        pretraining.run(train.TrainJob(bare.records, tmp_path / "run", bare.config))


def test_an_append_adds_the_new_items_of_a_grown_log(tmp_path: Path) -> None:
    data, config = make_log(tmp_path / "data"), load_config(None, SMALL)
    records = build.run(build.BuildJob(data, tmp_path / "records", config)).out
    with (data / "log.csv").open("a") as log:
        log.write(f"u1,newer,{START + 21000}\nu2,newer,{START + 21001}\n")
    manifest = build.run(build.BuildJob(data, records, config, append=True)).manifest
    assert (manifest.items, manifest.interactions) == (23, 123)
    assert (manifest.history[-1].items, manifest.history[-1].events["test"]) == (1, 2)


def test_an_export_cannot_be_updated_from_a_folder_without_item_table(bare: Bare) -> None:
    job = export.ExportJob(bare.run, bare.models / "bare", UpdateJob(bare.data))
    with pytest.raises(SpecError, match="has no items"):
        export.run(job)


def test_words_are_searched_in_titles_where_items_have_nothing_else(bare: Bare, tmp_path: Path) -> None:
    trained = load_trained(RunFolder(bare.run))
    named = ["The glass harbour", "Harbour lights", "A quiet orchard"]
    titles = zip(trained.catalogue.ids, named + [f"Film {n}" for n in range(3, 22)], strict=True)
    items = ItemRecords.of_bytes([item_example(item, title, {}).SerializeToString() for item, title in titles])
    catalogue = replace(trained.catalogue, records=items)
    fitted = load_or_fit_text(RunFolder(tmp_path), trained.model, catalogue, bare.config)
    assert fitted is not None
    index = replace(trained.item_index(), text_index=text_index(fitted, trained.model, catalogue, bare.config))
    module = export.make_module(trained, index)
    assert set(module.signatures()) == {"recommend", "serving_default", "recommend_simple", "rank", "similar", "search"}

    def found(text: str) -> list[str]:
        ids = module.search(tf.constant([text]), tf.constant([2]))["ids"][0].numpy()
        return [value.decode() for value in ids]

    assert found("harbor light")[0] == "i1"  # another spelling, and not the whole word
    assert set(found("harbour")) == {"i0", "i1"}
    assert found("quiet orchards")[0] == "i2"
    assert found(" ") == ["", ""]
    scorer = ModelScorer(
        ModelGraphs(trained.model), held_out_requests(trained), index.item_embeddings, None, index.text_index
    )
    scores = module.search(tf.constant(["harbor light"]), tf.constant([22]))["scores"][0].numpy()
    np.testing.assert_allclose(scores, -np.sort(-scorer.search_texts(["harbor light"])[0]), rtol=1e-5)


def test_an_item_table_without_features_gives_titles_and_items_that_nobody_took(tmp_path: Path) -> None:
    data = make_log(tmp_path / "data")
    (data / "films.csv").write_text("id,name\n" + "".join(f"{item},Film {item}\n" for item in ["never", *ITEMS]))
    spec = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(f"{spec}items: {{file: films.csv, id: id, title: name}}\n")
    manifest = build.run(build.BuildJob(data, tmp_path / "records", load_config(None, SMALL))).manifest
    catalogue = load_catalogue(tmp_path / "records", manifest)
    assert catalogue.ids.tolist() == ["never", *ITEMS]
    assert catalogue.titles[0] == "Film never"
    assert manifest.coverage == {}


def test_a_folder_without_item_table_and_without_spec_is_inferred_as_ids_alone(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,item,time\na,x,1\n")
    assert infer_spec(tmp_path).items is None
    (tmp_path / "items.csv").write_text("item_id,shelf\nx,Q7\n")
    items = infer_spec(tmp_path).items
    assert items is not None
    assert (items.file, items.id, items.features) == ("items.csv", "item_id", {})
