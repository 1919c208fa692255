"""Self-supervised pretraining: what it learns, what its metrics mean, and that a kill loses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from layer_cases import CASES
from text_folders import TOPIC_ITEMS, topics

from pipelines.building import builder as build
from pipelines.cli import main
from pipelines.config import Config, load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.run_folder import RunFolder
from pipelines.training import pretraining as pretrain
from pipelines.training import trainer as train
from pipelines.training.pretraining import masked_accuracy, most_frequent_accuracy, retrieval
from tfrecs.errors import DataError
from towers.pretraining import SelfSupervised

pytestmark = pytest.mark.slow

CHANGES = (
    "build.vocabulary_size=200",
    "text.num_layers=1",
    "text.hidden_dim=32",
    "text.intermediate_dim=32",
    "text.max_tokens=12",
    "text.query_tokens=6",
    "categories.hidden_dim=16",
    "pretrain.epochs=7",
    "pretrain.batch_size=16",
    "pretrain.learning_rate=0.005",
    "pretrain.mask_rate=0.2",
    "pretrain.held_out=0.1",
    "text.dropout=0",
    "user.hidden_dim=8",
    "user.num_layers=1",
    "train.epochs=1",
    "train.steps_per_call=1",
    "train.encoders=frozen",
)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(None, CHANGES)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, config: Config) -> Path:
    root = tmp_path_factory.mktemp("pretraining")
    return build.run(build.BuildJob(topics(root / "data"), root / "records", config)).out


@pytest.fixture(scope="module")
def result(records: Path, config: Config) -> pretrain.TrainResult:
    return pretrain.run(pretrain.TrainJob(records, records.parent / "pretrained", config))


@pytest.mark.matrix
def test_held_out_items_show_that_it_learned(result: pretrain.TrainResult) -> None:
    values = result.metrics
    # Four words a topic, eight topics: who knows the topic guesses one in four, who knows nothing one in 32.
    assert values["valid_masked_guess"] < 0.15
    assert values["valid_masked_accuracy"] > 2 * values["valid_masked_guess"]
    # 40 held-out items, five of a topic: who matches topics has the right one among ten.
    assert values["valid_chance@10"] < 0.4
    assert values["valid_retrieval@10"] > 2 * values["valid_chance@10"]
    assert (result.out / "metrics.jsonl").is_file()
    assert (result.out / "best").is_dir()
    assert list((result.out / "logs" / "valid").glob("events.*"))


@pytest.mark.matrix
def test_a_pretraining_continued_after_a_kill_ends_at_the_same_weights(
    records: Path, config: Config, result: pretrain.TrainResult, tmp_path: Path
) -> None:
    def stop(row: object) -> None:
        if len(first.rows) == 2:
            raise KeyboardInterrupt

    job = pretrain.TrainJob(records, tmp_path / "killed", config)
    first = pretrain.Pretrainer(job)
    with pytest.raises(KeyboardInterrupt):
        first.train(stop)
    second = pretrain.Pretrainer(job)
    assert len(second.rows) == 2
    assert second.train().epochs == result.epochs

    def weights(run: Path, epoch: int) -> np.ndarray:
        reader = tf.train.load_checkpoint(str(RunFolder(run).checkpoints / f"epoch-{epoch}"))
        names = sorted(name for name in reader.get_variable_to_shape_map() if name.startswith("model/"))
        values = (reader.get_tensor(name) for name in names if name.endswith("VARIABLE_VALUE"))
        return np.concatenate([value.ravel() for value in values if value.dtype == np.float32])

    end = weights(result.out, result.epochs)
    # Not bit for bit: threads add floats in any order.
    moved = np.linalg.norm(end - weights(result.out, result.epochs - 1))
    assert np.linalg.norm(end - weights(job.out, result.epochs)) < 0.05 * moved


@pytest.mark.matrix
def test_training_starts_from_the_pretrained_encoders(
    records: Path, config: Config, result: pretrain.TrainResult, tmp_path: Path
) -> None:
    changes = [*CHANGES, f"train.pretrained={result.out}"]
    trainer = train.Trainer(train.TrainJob(records, tmp_path / "run", load_config(None, changes)))
    best = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(result.out / "best")))
    stored = [best.get_tensor(key) for key in best.get_variable_to_shape_map() if "_CHECKPOINT" not in key]
    embedding = trainer.session.model.item_encoders["text"].token_embedding.embeddings.numpy()
    assert any(np.array_equal(value, embedding) for value in stored)
    fresh = train.Trainer(train.TrainJob(records, tmp_path / "fresh", config))
    assert np.abs(fresh.session.model.item_encoders["text"].token_embedding.embeddings - embedding).max() > 0.01


@pytest.mark.matrix
def test_a_pretrained_run_of_other_encoders_is_refused_in_one_line(
    records: Path, result: pretrain.TrainResult, tmp_path: Path
) -> None:
    settings = [*CHANGES, f"train.pretrained={result.out}", "text.hidden_dim=16"]
    command = ["train", "--records", str(records), "--out", str(tmp_path / "run")]
    answer = CliRunner().invoke(main, [*command, *(part for change in settings for part in ("--set", change))])
    assert answer.exit_code == 2
    assert "its encoder of 'text' has another hidden_dim (32, here 16); --set it to the same" in answer.output
    assert "Traceback" not in answer.output


@pytest.mark.matrix
def test_runs_of_train_and_pretrain_are_told_apart(
    records: Path, config: Config, result: pretrain.TrainResult, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="a run of triptych pretrain; name one of triptych train"):
        load_trained(RunFolder(result.out))
    with pytest.raises(DataError, match="a run of triptych pretrain; give --out a new folder"):
        train.Trainer(train.TrainJob(records, result.out, config))
    with pytest.raises(DataError, match=r"no run there; pretrain first \(triptych pretrain --out"):
        RunFolder(tmp_path / "nowhere").load("pretrain")


def test_masks_are_the_same_for_the_same_epoch_and_others_for_the_next(
    records: Path, config: Config, tmp_path: Path
) -> None:
    trainer = pretrain.Pretrainer(pretrain.TrainJob(records, tmp_path / "run", config))
    first, again, other = (
        trainer.masked(trainer.training_items, epoch)["text"]["token_ids"].numpy() for epoch in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert set(trainer.training_items) & set(trainer.held_out) == set()
    assert len(trainer.training_items) + len(trainer.held_out) == TOPIC_ITEMS


# --- what the metrics mean ---------------------------------------------------------------------------------------------


def learner() -> SelfSupervised:
    encoders = {
        name: CASES[case].layer(**CASES[case].config) for name, case in (("v", "VectorEncoder"), ("n", "NumberEncoder"))
    }
    return SelfSupervised(encoders, projection_dim=8, temperature=0.5, mask_rate=0.15, mask_loss_weight=1.0)


def test_the_contrast_is_a_symmetric_cross_entropy_over_items_that_have_both() -> None:
    embeddings = {
        "v": tf.constant([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        "n": tf.constant([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]),
    }
    presence = tf.constant([[True, True], [True, True], [True, False]])
    loss, count = learner().contrast(embeddings, presence)
    # The third item has no n, so it is neither a query nor a candidate. Logits over a temperature of 0.5:
    # v to n: (2, 1.2) and (0, 1.6); n to v: (2, 0) and (1.2, 1.6).
    terms = [np.log1p(np.exp(b - a)) for a, b in ((2, 1.2), (1.6, 0), (2, 0), (1.6, 1.2))]
    assert float(count) == 4
    assert float(loss) == pytest.approx(sum(terms), rel=1e-5)


def test_masked_accuracy_ignores_padding() -> None:
    logits = tf.constant([[[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]], [[0.0, 0.0, 9.0], [9.0, 0.0, 0.0]]])
    masked = {"mask_ids": tf.constant([[0, 2], [2, 0]]), "mask_weights": tf.constant([[1.0, 1.0], [1.0, 0.0]])}
    assert masked_accuracy(logits, masked)["valid_masked_accuracy"] == pytest.approx(2 / 3)
    assert most_frequent_accuracy(masked) == pytest.approx(2 / 3)  # of 0, 2, 2


def test_retrieval_stands_beside_its_chance() -> None:
    embeddings = {"a": np.eye(3), "b": np.eye(3)[[0, 2, 1]]}
    presence = np.ones((3, 2), bool)
    values = retrieval(embeddings, presence, ["a", "b"])
    # The first finds itself; the other two find each other, and tie with what is as far.
    assert values["valid_retrieval@1"] == pytest.approx(1 / 3)
    assert values["valid_chance@1"] == pytest.approx(1 / 3)
    assert values["valid_retrieval@10"] == values["valid_chance@10"] == 1.0
    assert retrieval(embeddings, np.array([[True, False]] * 3), ["a", "b"]) == {}


def test_two_replicas_and_one_have_the_same_loss(two_replicas: tf.distribute.Strategy) -> None:
    rng = np.random.default_rng(0)
    rows = {"v": rng.normal(size=(8, 3)).astype(np.float32), "n": rng.normal(size=(8, 1)).astype(np.float32)}
    batch = {"items": rows, "presence": rng.random((8, 2)) < 0.8, "masked": {}}
    batch = tf.nest.map_structure(tf.constant, batch)
    single = learner()
    single.encode(rows, {})  # makes the variables
    expected = float(single.compute_loss(batch))
    with two_replicas.scope():
        model = learner()
        model.encode(rows, {})
    for replicated, variable in zip(model.variables, single.variables, strict=True):
        if replicated.trainable:
            replicated.assign(variable)
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.nest.map_structure(lambda value: tf.split(value, 2)[context.replica_id_in_sync_group], batch)
    )
    losses = tf.function(lambda part: two_replicas.run(model.compute_loss, (part,)), autograph=False)(halves)
    total = two_replicas.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
    assert float(total) == pytest.approx(expected, rel=1e-5)
