"""Training windows read by a tf.data service are those that this process reads, in the same order."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from small_folder import make_folder, run

from pipelines.cli import main
from pipelines.config import validate
from pipelines.model.prepared_items import PreparedItems
from pipelines.training.input_pipeline import TrainingFeed
from tfrecs.errors import DataError
from tfrecs.reading.data_service import check_service
from tfrecs.reading.reader import load_catalogue, training_rows
from tfrecs.schema import Manifest

pytestmark = pytest.mark.slow

# A worker of its own process: it shares nothing with the trainer but the records.
WORKER = """
import sys, tfrecs
import tensorflow as tf
config = tf.data.experimental.service.WorkerConfig(dispatcher_address=sys.argv[1])
server = tf.data.experimental.service.WorkerServer(config)
print("ready", flush=True)
server.join()
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dispatcher and two workers on loopback."""
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.removeprefix("grpc://")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", WORKER, address]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, cwd=elsewhere)
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    yield address
    for worker in workers:
        worker.kill()
        worker.wait()
        assert worker.stdout is not None
        worker.stdout.close()


@pytest.fixture
def records(tmp_path: Path) -> Path:
    data = make_folder(tmp_path / "data")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "drama"]
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    run(data, tmp_path / "out", examples_per_shard=7, vocabulary_file=tmp_path / "vocab.txt")
    return tmp_path / "out"


def flat(element: object) -> list[np.ndarray]:
    return [np.asarray(part) for part in tf.nest.flatten(element)]


@pytest.mark.parametrize("permutation_seed", [None, 3])
def test_each_row_comes_once_and_in_the_order_of_the_records(
    records: Path, service: str, permutation_seed: int | None
) -> None:
    manifest = Manifest.load(records)
    assert len(manifest.splits["train"].shards) > 2
    ids = load_catalogue(records, manifest).ids
    here, there = (
        training_rows(records, manifest, ids, length=4, stride=2, permutation_seed=permutation_seed, service=address)
        for address in (None, service)
    )
    assert here.element_spec == there.element_spec
    own, served = ([flat(one) for one in dataset.as_numpy_iterator()] for dataset in (here, there))
    assert len(own) == len(served) > 40
    for first, second in zip(own, served, strict=True):
        for left, right in zip(first, second, strict=True):
            np.testing.assert_array_equal(left, right)


def test_an_epoch_of_training_is_the_same_batches(records: Path, service: str) -> None:
    manifest = Manifest.load(records)
    catalogue = load_catalogue(records, manifest)

    def batches(address: str | None) -> list[list[np.ndarray]]:
        without_users = manifest.schema_.model_copy(update={"users": ()})
        settings = {
            "seed": 1,
            "user": {"max_history": 4, "stride": 2},
            "train": {"batch_size": 8, "fresh_items": 4, "data_service": address},
        }
        feed = TrainingFeed(
            records,
            manifest.model_copy(update={"schema_": without_users}),
            catalogue,
            PreparedItems({}, np.ones([len(catalogue), 1], bool)),
            {},
            None,
            validate(settings, "test"),
        )
        return [flat(batch) for batch in feed.epoch(2)]

    own, served = batches(None), batches(service)
    assert len(own) == len(served) > 5
    for first, second in zip(own, served, strict=True):
        for left, right in zip(first, second, strict=True):
            np.testing.assert_array_equal(left, right)


def test_an_address_where_nothing_listens_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DataError, match="no dispatcher answers"):
        check_service(address)
    with pytest.raises(DataError, match="host:port"):
        check_service("somewhere")


@pytest.mark.matrix
def test_the_flag_of_train_reaches_the_feed(records: Path, tmp_path: Path) -> None:
    arguments = ["train", "--records", str(records), "--out", str(tmp_path / "run"), "--data-service", "nowhere"]
    done = CliRunner().invoke(main, [*arguments, "--set", "train.encoders=frozen"])
    assert done.exit_code == 2
    assert "data service 'nowhere': write it as host:port" in done.output
