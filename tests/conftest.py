"""Fixtures that every test may use, and the order in which test files run."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read by gRPC when it is first imported; its notes on connections that end would stand between the tests' dots.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Read by TensorFlow when it starts: the tests' tensors are small, and threads that wait for work take a tenth of the time.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# Read by XLA at its first use: LLVM would take half of the time of a compiled step for code that runs once.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import filelock
import pytest

import tfrecs  # noqa: F401  (the Keras guard runs before any test imports TensorFlow)

if TYPE_CHECKING:
    from whole import Whole

    from pipelines.hybrid.trained_run import TrainedRun

REPO = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Make two logical CPUs, so that a MirroredStrategy of two replicas runs where there is no GPU."""
    if getattr(config.option, "tx", None):  # the process that only hands tests to the workers of pytest-xdist
        return
    import tensorflow as tf

    # Python's default looks through the millions of objects of traced graphs again and again: a tenth of the time.
    gc.set_threshold(50_000, 20, 50)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of tests; a worker of pytest-xdist takes the next file whole, so that what its tests share is made once.

    First come the files with slow tests (a test that uses `whole` or `plain` is one), those with the most of them before
    the others, so that the quick ones at the end even out what the workers have left. Files with and without `whole` take
    turns: while one worker makes it, the other has something to do.
    """
    for item in items:
        if {"whole", "plain"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    with_whole = {item.path for item in items if "whole" in getattr(item, "fixturenames", ())}
    turns = {True: itertools.count(0, 2), False: itertools.count(1, 2)}
    order = {path: next(turns[path in with_whole]) for path, _ in slow.most_common()}
    items.sort(key=lambda item: order.get(item.path, len(items)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data sets; TRIPTYCH_DATA names it, `../shared/data` beside the clone is the default."""
    folder = Path(os.environ.get("TRIPTYCH_DATA", REPO.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"real data is not there ({folder}); set TRIPTYCH_DATA to its folder to run this test")
    return folder


@pytest.fixture(scope="session")
def two_replicas() -> Any:
    """One MirroredStrategy for all tests: collective operations of two of them in one process get the same keys."""
    from pipelines.model.strategy import make_strategy

    strategy = make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    return strategy


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A small data set with texts, pictures and sound, and everything that was made of it. Leave it as it is."""
    return _made_once("whole", tmp_path_factory)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A smaller one with categories alone, for what does not depend on the features of items. Leave it as it is."""
    return _made_once("plain", tmp_path_factory)


def _made_once(name: str, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What `make` of the helper of this name makes, one for all workers."""
    helper = importlib.import_module(name)  # seconds to import, up to a minute to make: only for who asks
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    made = root / f"{name}.pickle"
    with filelock.FileLock(root / f"{name}.lock"):
        if not made.exists():
            made.write_bytes(pickle.dumps(helper.make(root / name)))
    whole: Whole = pickle.loads(made.read_bytes())
    return whole


@pytest.fixture(scope="session")
def session(whole: Whole) -> TrainedRun:
    """The trained model of `whole`. Leave it as it is."""
    return _loaded(whole)


@pytest.fixture(scope="session")
def plain_run(plain: Whole) -> TrainedRun:
    """The trained model of `plain`. Leave it as it is."""
    return _loaded(plain)


def _loaded(whole: Whole) -> TrainedRun:
    from pipelines.hybrid.trained_run import load_trained
    from pipelines.runs.run_folder import RunFolder

    return load_trained(RunFolder(whole.run))
