"""Records and runs that start from a pretrained BERT: whose vocabulary, shape and weights they have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from small_bert import by_hand, hugging_face
from text_folders import shop

from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.exporting import exporter as export
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.run_folder import RunFolder
from pipelines.search.text_index import TextModel
from pipelines.training import trainer as train
from tfrecs.errors import DataError, SpecError
from towers.encoders.bert_checkpoint import open_checkpoint
from towers.encoders.text_backbones import transformer_layers


@pytest.mark.matrix
@pytest.mark.slow
def test_a_run_with_adapters_on_a_checkpoint_has_its_vocabulary_shape_and_weights_and_is_exported(
    tmp_path: Path,
) -> None:
    checkpoint = hugging_face(tmp_path / "bert")
    small = ["text.max_tokens=10", "text.query_tokens=6", "user.hidden_dim=8", "user.num_layers=1", "train.epochs=1"]
    small += ["hybrid.regularizations=[100]", "hybrid.softness=[1]", "export.parity_requests=4"]
    config = load_config(None, [f"text.checkpoint={checkpoint}", "train.encoders=lora", *small])
    data = shop(tmp_path / "shop")
    records = build.run(build.BuildJob(data, tmp_path / "records", config)).out
    assert (records / "vocab.txt").read_bytes() == (checkpoint / "vocab.txt").read_bytes()
    train.run(train.TrainJob(records, tmp_path / "run", config))
    # The run stands without the checkpoint: its shape is in its configuration, its weights in its own checkpoint.
    expected, original = by_hand(checkpoint, [2, 5, 3]), open_checkpoint(str(checkpoint)).weights()
    checkpoint.rename(tmp_path / "elsewhere")
    session = load_trained(RunFolder(tmp_path / "run"))
    assert (session.config.text.num_layers, session.config.text.hidden_dim, session.config.text.activation) == (
        1,
        8,
        "gelu",
    )
    encoder = session.model.item_encoders["text"]
    attention = transformer_layers(encoder.backbone)[0]._self_attention_layer
    np.testing.assert_array_equal(attention._query_dense.base.kernel, original["0/query/kernel"])
    grown = [variable for variable in encoder.variables if variable.name.endswith("lora_b:0")]
    assert len(grown) == 2
    assert all(np.abs(variable.numpy()).max() > 0 for variable in grown)
    # Twelve titles of three words need no meaning, so that its weight may be 0: the export is checked with one above that.
    fitted = TextModel.load(RunFolder(tmp_path / "run"))
    assert fitted.semantic is not None
    TextModel(replace(fitted.lexical, semantic_weight=5.0), fitted.semantic).save(RunFolder(tmp_path / "run"))
    # Raises where the served answers differ, or where an op is not one that stock servers have.
    exported = export.run(export.ExportJob(tmp_path / "run", tmp_path / "models" / "shop"))
    assert exported.gate.requests == 4
    for variable in grown:
        variable.assign(tf.zeros_like(variable))  # without what was learned, it is the checkpoint
    np.testing.assert_allclose(encoder(tf.constant([[2, 5, 3, 0]])).numpy()[0], expected, atol=2e-5)


def test_records_with_another_vocabulary_are_refused_in_one_line(tmp_path: Path) -> None:
    checkpoint = hugging_face(tmp_path / "bert")
    data = shop(tmp_path / "shop")
    records = build.run(
        build.BuildJob(data, tmp_path / "records", load_config(None, ["build.vocabulary_size=200"]))
    ).out
    config = load_config(None, [f"text.checkpoint={checkpoint}", "text.max_tokens=10", "text.query_tokens=6"])
    with pytest.raises(DataError, match=r"build the records with --set text\.checkpoint=") as error:
        train.run(train.TrainJob(records, tmp_path / "run", config))
    assert "\n" not in str(error.value)
    with pytest.raises(SpecError, match="leave one of them away"):
        build.run(build.BuildJob(data, tmp_path / "again", config, vocabulary=checkpoint / "vocab.txt"))
