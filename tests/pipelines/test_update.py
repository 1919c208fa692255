"""New items without retraining: a new version of the export, swapped in by a server that is under load."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from toy_server import Stubs, connected, eventually, running
from whole import Whole

from pipelines.cli import main
from pipelines.exporting import exporter as export
from pipelines.exporting.catalogue_update import UpdateJob, read_update
from pipelines.exporting.exporter import ExportJob
from pipelines.hybrid.item_index import updated_index
from pipelines.hybrid.trained_run import TrainedRun
from serving.client.client import Client
from serving.wire import layout
from tfrecs.errors import DataError, ExportError, SpecError
from tfrecs.rejects import Rejects

NEW = ("new-a", "new-b")


def rows_of(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "items.jsonl").read_text().splitlines()]


def folder_with(whole: Whole, folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A folder with these items, media beside them, and no interactions."""
    folder.mkdir()
    for entry in whole.data.iterdir():
        if entry.is_dir() or entry.name == "dataset.yaml":
            os.symlink(entry, folder / entry.name)
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def complete(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if all(row[key] for key in ("description", "image", "audio")))


@pytest.fixture
def changed(plain: Whole, tmp_path: Path) -> tuple[Path, list[str], dict[str, Any]]:
    """The first three items are gone, two new ones are there with the same content each: (folder, gone, content)."""
    rows = rows_of(plain.data)
    source = rows[3]
    added = [{**source, "item_id": name, "title": name} for name in NEW]
    return folder_with(plain, tmp_path / "now", [*rows[3:], *added]), [row["item_id"] for row in rows[:3]], source


def hammer(stubs: Stubs, catalogue: dict[int, set[str]], history: list[str], wrong: list[Any], seen: list[int]) -> None:
    """One request of which the answer must be the whole catalogue of one version, but for the history."""
    count = max(len(items) for items in catalogue.values()) + 5
    empty = tf.zeros([1, 0], tf.string)
    try:
        response = stubs.predict(
            "plain", "recommend", history_ids=[history], history_values=[[1.0] * len(history)],
            history_times=np.zeros([1, len(history)], np.int64), now=np.array([10**9]), query=[""], exclude_ids=empty,
            categories=empty, diversity=[0.0], k=np.array([count], np.int32),
        )  # fmt: skip
    except grpc.RpcError as error:
        wrong.append(error)
        return
    version = response.model_spec.version.value
    found = {item.decode() for item in tf.make_ndarray(response.outputs["ids"])[0]} - {""}
    if found != catalogue[version] - set(history):
        wrong.append((version, found))
    seen.append(version)


@pytest.mark.matrix
@pytest.mark.slow
def test_an_update_is_swapped_in_under_load_without_a_failed_or_mixed_answer(
    plain: Whole, changed: tuple[Path, list[str], dict[str, Any]], tmp_path: Path
) -> None:
    items, gone, source = changed
    models = Path(shutil.copytree(plain.models, tmp_path / "models"))
    before = set(layout.titles(plain.export.path))
    catalogue = {1: before, 2: (before - set(gone)) | set(NEW)}
    known = sorted(before - set(gone))
    history = [known[0], gone[0], known[1]]
    wrong: list[Any] = []
    seen: list[int] = []
    enough = threading.Event()

    with running(models) as server, connected(server) as stubs:

        def work() -> None:
            while not enough.is_set() and not wrong:
                hammer(stubs, catalogue, history, wrong, seen)
                time.sleep(0.01)  # leaves the export, which is in this process, some of the two cores

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: 1 in seen or bool(wrong))
            result = export.run(ExportJob(plain.run, models / "plain", UpdateJob(items)))
            eventually(lambda: 2 in seen[-1:] or bool(wrong))
            eventually(lambda: server.models.available() == [("plain", 2)])
        finally:
            enough.set()
            for thread in threads:
                thread.join()
        assert wrong == []
        assert set(seen) == {1, 2}
        assert (result.version, result.items) == (2, len(before) - 1)
        assert layout.titles(result.path)["new-a"] == "new-a"
        with Client(server.address, "plain", timeout=30.0) as client:
            assert_the_update_is_there(client, gone, source, len(before) - 1)
    gate = json.loads((result.path / "assets.extra" / "gate.json").read_text())
    assert gate["requests"] == 10
    assert 0 < gate["p50_ms"] <= gate["p99_ms"]
    assert sorted(path.name for path in (models / "plain").iterdir()) == ["1", "2"]


def assert_the_update_is_there(client: Client, gone: list[str], source: dict[str, Any], count: int) -> None:
    everything = {item.id: item for item in client.recommend(k=200)}
    assert len(everything) == count
    assert set(NEW) <= set(everything)
    assert not set(gone) & set(everything)
    # Two items of the same content are one to the model, and nothing is as like one as the other.
    assert everything["new-a"].score == pytest.approx(everything["new-b"].score, abs=1e-5)
    nearest = client.similar("new-a", k=1)[0]
    assert (nearest.id, nearest.score) == ("new-b", pytest.approx(1.0, abs=1e-5))
    assert client.similar(gone[0], k=5) == []
    found = {item.id: item.score for item in client.search(source["title"], k=200)}
    assert set(found) == set(everything)
    embedded = client.embed_items(genre=[[source["genre"]]])
    assert embedded.embedding.shape[0] == 1


@pytest.mark.slow
def test_items_that_did_not_change_keep_their_embedding_and_content_decides_of_the_others(
    whole: Whole, session: TrainedRun, tmp_path: Path
) -> None:
    rows = rows_of(whole.data)
    source = complete(rows)
    other = next(row for row in rows if row["description"] and row["description"] != source["description"])
    rewritten = {**source, "description": other["description"]}
    now = [rewritten if row is source else row for row in reversed(rows)] + [{**source, "item_id": "new"}]
    read = read_update(UpdateJob(folder_with(whole, tmp_path / "now", now)), session, [], Rejects())
    before, after = session.item_index(), updated_index(session, read)
    assert after.catalogue.ids.tolist() == [row["item_id"] for row in now]
    place = {item: index for index, item in enumerate(before.catalogue.ids.tolist())}
    for index, item in enumerate(after.catalogue.ids.tolist()):
        if item == "new":
            assert after.trained[index] == -1
            continue
        assert after.trained[index] == place[item]
        same = np.allclose(after.item_embeddings[index], before.item_embeddings[place[item]], atol=1e-6)
        # What an item that nobody has met borrows is from all the others, the changed one among them.
        assert same == (item != source["item_id"]) or session.is_cold[place[item]], item
    assert after.positions(len(rows))[place[source["item_id"]]] == now.index(rewritten)


def test_keep_adds_to_the_catalogue_and_refuses_to_lose_what_an_earlier_update_added(
    whole: Whole, session: TrainedRun, tmp_path: Path
) -> None:
    rows = rows_of(whole.data)
    added = {**complete(rows), "item_id": "new"}
    job = UpdateJob(folder_with(whole, tmp_path / "added", [added]), keep=True)
    served = [row["item_id"] for row in rows]
    catalogue = read_update(job, session, served, Rejects())
    assert catalogue.ids.tolist() == [*session.catalogue.ids.tolist(), "new"]
    with pytest.raises(DataError, match=r"1 items that an earlier update added .*'older'.*list them too"):
        read_update(job, session, [*served, "older"], Rejects())


@pytest.mark.slow
def test_an_update_that_would_drop_most_items_is_refused_and_nothing_is_written(whole: Whole, tmp_path: Path) -> None:
    few = folder_with(whole, tmp_path / "few", rows_of(whole.data)[:5])
    with pytest.raises(ExportError, match=r"75 of the 80 items that are served are not in its table.*--keep"):
        export.run(ExportJob(whole.run, whole.models / "demo", UpdateJob(few)))
    assert [path.name for path in (whole.models / "demo").iterdir()] == ["1"]


def test_features_other_than_those_of_the_training_are_named(whole: Whole, session: TrainedRun, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "items.csv").write_text("item_id,title,description\nx,X,a film\n")
    with pytest.raises(SpecError, match=r"items.features are text \(text\), the model was trained on .*image.*--spec"):
        read_update(UpdateJob(folder), session, [], Rejects())
    with pytest.raises(DataError, match="no such folder; --items"):
        read_update(UpdateJob(tmp_path / "nowhere"), session, [], Rejects())


@pytest.mark.parametrize("options", [["--update"], ["--items", "x"], ["--keep"], ["--spec", "x"]])
def test_options_that_only_make_sense_together_are_asked_for_together(options: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["export", "--run", "r", "--to", str(tmp_path / "m"), *options])
    assert done.exit_code == 2
    assert done.output.splitlines() == [
        "triptych: --update takes --items DIR (and --spec FILE, --keep), and they take --update; give both"
    ]
