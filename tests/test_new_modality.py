"""A modality that no file of the packages knows: built, inspected, trained, exported, served and shown by the app."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy_modality
from PIL import Image
from small_folder import ITEMS, event_rows, write_events

from pipelines.building import builder
from pipelines.config import load_config
from pipelines.exporting import exporter
from pipelines.inspection import inspector
from pipelines.training import trainer
from pipelines.webapp.item_rows import media_features, read_rows
from tfrecs import modalities
from tfrecs.spec.infer import infer_spec

SMALL = (
    "vector.hidden_dim=8",
    "user.hidden_dim=8",
    "user.num_layers=1",
    "user.num_heads=1",
    "user.max_history=6",
    "user.stride=3",
    "cooccurrence.epochs=1",
    "train.epochs=1",
    "hybrid.regularizations=[100]",
    "hybrid.softness=[1]",
    "hybrid.content_weights=[30]",
    "train.batch_size=16",
    "train.steps_per_call=1",
    "export.parity_requests=4",
    "export.warmup_requests=1",
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without dataset.yaml, whose items have a swatch and a vector."""
    monkeypatch.setattr(modalities, "MODALITIES", (*modalities.MODALITIES, toy_modality.ROW))
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(ITEMS):
        Image.new("RGB", (4, 4), (8 * number, 90, 200)).save(folder / f"{number}.png")
        timbre = ", ".join(f"{value:.3f}" for value in rng.normal(size=3))
        swatch = "null" if number == 4 else f'"{number}.png"'
        item = '"фильм"' if number == 0 else number
        rows.append(f'{{"item_id": {item}, "swatch": {swatch}, "timbre": [{timbre}]}}\n')
    (folder / "items.jsonl").write_text("".join(rows), encoding="utf-8")
    write_events(folder, event_rows())
    return folder


def test_a_modality_from_outside_goes_the_whole_way(data: Path, tmp_path: Path) -> None:
    spec, config = infer_spec(data), load_config(None, SMALL)
    assert {name: feature.kind for name, feature in spec.items.features.items()} == {
        "swatch": "swatch",
        "timbre": "vector",
    }

    built = builder.run(builder.BuildJob(data, tmp_path / "records", config))
    assert built.manifest.coverage["swatch"] == 1 - 1 / ITEMS

    page = tmp_path / "page.html"
    inspector.run(inspector.InspectJob(built.out, config, page))
    assert '<dt>swatch</dt><dd><b style="background: rgb(8 90 200)">swatch</b></dd>' in page.read_text(encoding="utf-8")
    assert '<dt>swatch</dt><dd><p class="missing">missing</p></dd>' in page.read_text(encoding="utf-8")

    run = trainer.run(trainer.TrainJob(built.out, tmp_path / "run", config)).out
    exported = exporter.run(exporter.ExportJob(run, tmp_path / "models" / "toy"))
    embed = tf.saved_model.load(str(exported.path)).signatures["embed_items"]
    inputs = {
        "swatch": tf.constant([[0.1, 0.4, 0.8], [np.nan] * 3]),
        "timbre": tf.zeros([2, 3]),
    }
    weights = embed(**inputs)["modality_weights"].numpy()
    assert (weights[0] > 0).all()
    assert (weights[1] > 0).tolist() == [False, True]

    assert media_features(spec) == {"swatch": "image"}
    rows = read_rows(data, spec)
    assert dict(rows["1"].media) == {"swatch": "1.png"}
    assert dict(rows["4"].media) == {}
