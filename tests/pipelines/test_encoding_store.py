"""Encodings of a large catalogue: in a file of float16, found again, computed anew where it is damaged; a full disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import small_model
import tensorflow as tf
from whole import Whole

from pipelines.hybrid.trained_run import load_trained
from pipelines.model import encoding_store
from pipelines.model.encoding_store import EncodingStore
from pipelines.model.encodings import in_order
from pipelines.model.prepared_items import PreparedItems, StoredItems, prepare_items
from pipelines.model.session import open_session
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from tfrecs.errors import DataError
from towers.two_tower import TwoTower

ITEMS = small_model.ITEMS
IN_FILE = small_model.config(retrieval={"softmax": "in_batch"})
PRESENCE = np.random.default_rng(3).random((ITEMS, 2)) < 0.8  # as of a small model with the seed 3


def items() -> PreparedItems:
    rng = np.random.default_rng(0)
    words = tf.constant(rng.integers(5, 12, (ITEMS, 8)), tf.int32)
    feel = tf.constant(rng.normal(size=(ITEMS, 4)), tf.float32)
    return PreparedItems({"words": words, "feel": feel}, PRESENCE)


def model_and_twin() -> tuple[TwoTower, TwoTower]:
    """Two models of the same weights: encodings in a file, encodings in variables."""
    return small_model.model(IN_FILE, filled=False), small_model.model(small_model.config())


def never(inputs: Mapping[str, tf.Tensor]) -> NoReturn:
    pytest.fail("encodings were computed though they were there")


def test_a_file_gives_the_encodings_and_statistics_of_a_catalogue_in_memory(tmp_path: Path) -> None:
    model, twin = model_and_twin()
    assert not model.cache
    np.testing.assert_array_equal(model.presence, PRESENCE)
    EncodingStore(tmp_path / "file", "records").fill(model, model.encode_items, items(), 5)
    EncodingStore(tmp_path / "none", "records").fill(twin, twin.encode_items, items(), 5)
    assert not (tmp_path / "none").exists()
    for name, cache in twin.cache.items():
        deviation = np.asarray(twin.spread[name])
        # Eleven bits of what is at most a few deviations.
        assert (np.abs(model.cache[name][:] - cache.numpy()) <= 0.004 * deviation).all()
        np.testing.assert_allclose(model.center[name], twin.center[name], atol=1e-5)
        np.testing.assert_allclose(model.spread[name], twin.spread[name], rtol=1e-4)
    for first, second in zip(model.item_embeddings(), twin.item_embeddings(), strict=True):
        np.testing.assert_allclose(first, second, atol=2e-3)


def test_encodings_that_are_nearly_alike_keep_what_differs(tmp_path: Path) -> None:
    """As those of an untrained network are: 300, and about 1/100 more or less. Float16 of 300 has steps of 1/4."""
    model, _ = model_and_twin()

    def alike(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name: 300.0 + 0.01 * tf.tanh(value) for name, value in model.encode_items(inputs).items()}

    EncodingStore(tmp_path, "records").fill(model, alike, items(), ITEMS)
    for name, expected in alike(items().rows(tf.range(ITEMS))).items():
        error = np.abs(model.cache[name][:] - expected.numpy())
        assert error.max() < 1e-4  # float32 of 300 has steps of 3e-5
        assert model.spread[name].numpy().max() < 0.02


def test_rows_come_by_slices_by_positions_in_a_graph_and_in_another_order(tmp_path: Path) -> None:
    model, _ = model_and_twin()
    EncodingStore(tmp_path, "records").fill(model, model.encode_items, items(), 5)
    feel = model.cache["feel"]
    assert feel.shape == (ITEMS, 8)
    whole = feel[:]
    np.testing.assert_array_equal(feel[3:5], whole[3:5])
    np.testing.assert_array_equal(feel[np.array([7, 0, 7])], whole[[7, 0, 7]])
    order = np.arange(ITEMS)[::-1]
    reversed_twice = in_order(in_order(model.cache, order), order)["feel"]
    np.testing.assert_array_equal(in_order(model.cache, order)["feel"][2:4], whole[::-1][2:4])
    np.testing.assert_array_equal(reversed_twice[:], whole)
    dataset = tf.data.Dataset.from_tensors(tf.constant([7, 0])).map(model.cache.gather)
    (gathered,) = list(dataset)
    assert list(gathered) == ["words", "feel"]
    np.testing.assert_array_equal(gathered["feel"], whole[[7, 0]])


def test_the_same_weights_find_the_file_and_others_take_its_place(tmp_path: Path) -> None:
    model, _ = model_and_twin()
    EncodingStore(tmp_path, "records").fill(model, model.encode_items, items(), 5)
    (file,) = tmp_path.glob("*.f16")
    before = model.cache["feel"][:]
    again, _ = model_and_twin()
    EncodingStore(tmp_path, "records").fill(again, never, items(), 5)
    np.testing.assert_array_equal(again.cache["feel"][:], before)
    np.testing.assert_array_equal(again.center["feel"], model.center["feel"])
    again.item_encoders["feel"].variables[0].assign_add(tf.ones_like(again.item_encoders["feel"].variables[0]))
    EncodingStore(tmp_path, "records").fill(again, again.encode_items, items(), 5)
    (other,) = tmp_path.glob("*.f16")
    assert other != file
    assert (again.cache["feel"][:] != before).any()
    EncodingStore(tmp_path, "other records").fill(again, again.encode_items, items(), 5)
    assert not other.exists()


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    path.write_bytes(content)


def spoil_the_description(path: Path) -> None:
    path.with_suffix(".json").write_text('{"items": 1')


@pytest.mark.parametrize("damage", [shorten, flip_a_bit, spoil_the_description, Path.unlink])
def test_a_damaged_file_is_told_and_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    model, _ = model_and_twin()
    EncodingStore(tmp_path, "records").fill(model, model.encode_items, items(), 5)
    (file,) = tmp_path.glob("*.f16")
    whole = file.read_bytes()
    damage(file)
    EncodingStore(tmp_path, "records").fill(model, model.encode_items, items(), 5)
    assert f"{file}: damaged, so that the encodings are computed again" in capsys.readouterr().out.replace("\n", " ")
    assert file.read_bytes() == whole


def test_a_full_disk_is_one_line_before_the_first_item_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = model_and_twin()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * ITEMS * (16 + 8) - 1))
    with pytest.raises(DataError, match=r"no room for the encodings of 12 items.*encodings_folder=DIR") as error:
        EncodingStore(tmp_path, "records").fill(model, never, items(), 5)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


class SmallDisk:
    """A file on a disk that takes 300 bytes."""

    def __init__(self, file: Any):
        self.file, self.written = file, 0

    def write(self, content: bytes) -> None:
        self.written += len(content)
        if self.written > 300:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.file.write(content)

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, *reason: object) -> None:
        self.file.close()


def test_a_disk_that_fills_up_under_way_leaves_no_part_and_the_next_try_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = model_and_twin()
    opened = Path.open

    def on_a_small_disk(self: Path, *arguments: Any) -> Any:
        file = opened(self, *arguments)
        return SmallDisk(file) if self.suffix == ".tmp" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", on_a_small_disk)
        with pytest.raises(DataError, match=r"no room for the encodings.*what is finished is kept"):
            EncodingStore(tmp_path, "records").fill(model, model.encode_items, items(), 5)
    assert not list(tmp_path.iterdir())
    EncodingStore(tmp_path, "records").fill(model, model.encode_items, items(), 5)
    assert len(model.cache["feel"][:]) == ITEMS


def test_items_read_from_their_records_are_those_prepared_in_memory(whole: Whole) -> None:
    session = open_session(whole.records, whole.config, tf.distribute.get_strategy(), pretrained=False)
    kept = session.items
    read = prepare_items(session.manifest.schema_, session.model.item_encoders, session.catalogue, 0.0)
    assert isinstance(kept, PreparedItems)
    assert isinstance(read, StoredItems)
    np.testing.assert_array_equal(read.presence, kept.presence)
    index = tf.constant([70, 3, 3, 0])
    one, other = read.rows(index), kept.rows(index)
    assert list(one) == list(other) == list(session.manifest.schema_.modalities)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-5)
    assert list(read.rows(index, only=["text"])) == ["text"]
    sizes = [(count, {len(value) for value in inputs.values()}) for inputs, count in read.batches(32)]
    assert sizes == [(32, {32}), (32, {32}), (16, {32})]


@pytest.mark.matrix
@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_a_run_with_nothing_in_memory_goes_on_after_a_kill_and_is_opened_with_its_file(
    plain: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    config = replace_sections(
        plain.config,
        retrieval={"softmax": "in_batch", "uniform_negatives": 16},
        train={"encoders": mode, "items_in_memory": 0.0, "epochs": 2, "fresh_items": 2, "validation_queries": 50},
        hybrid={"enabled": False},
    )
    job = train.TrainJob(plain.records, tmp_path / "run", config)

    def stop(row: object) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.Trainer(job).train(stop)
    again = train.Trainer(job)
    with monkeypatch.context() as patch:
        patch.setattr(encoding_store, "_write", lambda *arguments: pytest.fail("encodings were computed again"))
        again.batches(1)  # of the weights that the checkpoint holds
    train.run(job)
    run = RunFolder(job.out)
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2]
    with monkeypatch.context() as patch:
        patch.setattr(encoding_store, "_write", lambda *arguments: pytest.fail("encodings were computed again"))
        opened = load_trained(run)
    assert np.isfinite(opened.item_index().item_embeddings).all()
    (file,) = (job.out / "encodings").glob("*.f16")
    assert file.stat().st_size == 2 * sum(column.shape[0] * column.shape[1] for column in opened.model.cache.values())


def replace_sections(config: Any, **sections: dict[str, Any]) -> Any:
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    )


def test_the_folder_of_the_encodings_may_be_on_another_disk(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    assert first.encodings(None) == tmp_path / "a" / "encodings"
    elsewhere = [run.encodings(str(tmp_path / "disk")) for run in (first, second)]
    assert {folder.parent for folder in elsewhere} == {tmp_path / "disk"}
    assert elsewhere[0] != elsewhere[1]
