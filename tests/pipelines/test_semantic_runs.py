"""Semantic IDs, HSTU and the generative head through a whole run: trained, exported, and exported with other items."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from plain import SMALL, make_plain_folder

from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.exporting import exporter as export
from pipelines.exporting.catalogue_update import UpdateJob, read_update
from pipelines.exporting.exporter import ExportJob
from pipelines.hybrid.item_index import updated_index
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from tfrecs.rejects import Rejects

pytestmark = pytest.mark.slow

CHANGES = ("item.semantic_ids=instead", "item.semantic_codes=8", "user.block=hstu", "generative.weight=0.5")


@pytest.mark.matrix
def test_a_run_is_exported_with_the_codes_of_its_items_and_of_new_ones(tmp_path: Path) -> None:
    config = load_config(None, (*SMALL, "train.epochs=1", *CHANGES))
    data, run = make_plain_folder(tmp_path / "data"), tmp_path / "run"
    records = build.run(build.BuildJob(data, tmp_path / "records", config)).out
    train.run(train.TrainJob(records, run, config))
    session = load_trained(RunFolder(run))
    assert session.model.codes is not None
    codes = session.model.codes.catalogue.numpy()
    # Items of one genre have the same content, so the same codes, and last codes in their order.
    genre = np.arange(len(codes)) % 5
    assert len(np.unique(codes[:, :-1], axis=0)) == 5
    for value in range(5):
        own = codes[genre == value]
        assert (own[:, :-1] == own[0, :-1]).all()
        assert own[:, -1].tolist() == list(range(len(own)))

    # The export gate compares what is served with Python, `generate` included, in a process without our packages.
    rows = [json.loads(line) for line in (data / "items.jsonl").read_text().splitlines()]
    rows = [*rows[5:], {"item_id": "new", "title": "New", "genre": rows[6]["genre"]}]
    (data / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exported = export.run(ExportJob(run, tmp_path / "models" / "plain", UpdateJob(data)))
    assert exported.items == 36
    described = json.loads((exported.path / "assets.extra" / "triptych.json").read_text())
    assert "generate" in described["signatures"]
    index = updated_index(session, read_update(UpdateJob(data), session, [], Rejects()))
    assert index.codes is not None
    # The first item of each genre is gone, so that those behind it move up; the new one stands behind its genre's seven.
    assert index.codes[:35, -1].tolist() == [number // 5 for number in range(35)]
    assert index.codes[35].tolist() == [*codes[6, :-1], 7]
