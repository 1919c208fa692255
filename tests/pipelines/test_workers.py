"""Several workers: what they are told, how they meet, and that they train what one worker trains."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import tensorflow as tf
import worker_processes as processes
from click.testing import CliRunner
from whole import SMALL, Whole

from pipelines.cli import main
from pipelines.cluster.meeting import meet
from pipelines.cluster.tf_config import Cluster, cluster_of, read_cluster
from pipelines.cluster.workers import Workers
from pipelines.config import load_config
from pipelines.model.strategy import make_strategy
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from pipelines.training.joining import check_divisible
from tfrecs.errors import DataError, SpecError, WorkersError

TWO = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}'

# --- TF_CONFIG ---------------------------------------------------------------------------------------------------------


def test_the_chief_is_the_first_of_all_workers() -> None:
    assert read_cluster(TWO) == Cluster(("a:1", "b:2"), 1)
    with_chief = {"cluster": {"worker": ["b:2", "c:3"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 1}}
    assert read_cluster(json.dumps(with_chief)) == Cluster(("a:1", "b:2", "c:3"), 2)
    with_chief["task"] = {"type": "chief", "index": 0}
    assert read_cluster(json.dumps(with_chief)).index == 0


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{cluster", "TF_CONFIG is not JSON"),
        ("[]", "TF_CONFIG is not a JSON object"),
        ("{}", "TF_CONFIG has no cluster"),
        ('{"cluster": {"worker": ["a:1"]}}', "does not say which task this process is"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}', "does not say which task this process is"),
        (TWO.replace("1}", "2}"), "says that this process is worker 2, but the cluster has worker 0 to 1"),
        (TWO.replace("1}", '"1"}'), "says that this process is worker '1'"),
        (TWO.replace('"type": "worker"', '"type": "evaluator"'), "is a 'evaluator', which the cluster has none of"),
        (TWO.replace('{"worker": [', '{"ps": ["p:1"], "worker": ['), "has the job 'ps', .* no parameter server"),
        (TWO.replace("b:2", "b"), "has the address 'b'"),
        (TWO.replace("b:2", "a:1"), "has the address a:1 twice"),
        (TWO.replace('["a:1", "b:2"]', '"a:1"'), "gives no list of addresses"),
    ],
)
def test_a_wrong_tf_config_is_one_line_with_the_form(text: str, what: str) -> None:
    with pytest.raises(SpecError, match=f'{what}.*; write it as {{"cluster": {{"worker"') as error:
        read_cluster(text)
    assert "\n" not in str(error.value)


def test_auto_takes_a_cluster_of_several_workers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TPU_NAME", raising=False)
    monkeypatch.setenv("TF_CONFIG", TWO)
    assert cluster_of("auto") == cluster_of("multiworker") == Cluster(("a:1", "b:2"), 1)
    assert cluster_of("cpu") is None
    for alone in ('{"environment": "cloud"}', '{"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}'):
        monkeypatch.setenv("TF_CONFIG", alone)
        assert cluster_of("auto") is None


def test_a_step_that_runs_on_one_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", TWO)
    with pytest.raises(SpecError, match="only triptych train and triptych pretrain run on several workers"):
        make_strategy("multiworker")
    done = CliRunner().invoke(main, ["run", "--data", "nowhere"])
    assert done.exit_code == 2
    assert "run the other steps on one machine, with TF_CONFIG unset" in done.output


# --- the meeting -------------------------------------------------------------------------------------------------------


def met(addresses: Sequence[str], details: Sequence[dict[str, object]], limit: float = 10.0) -> list[str]:
    """Let one thread for each of `details` meet as a worker; returns what each of them raised, "" = nothing."""
    raised = [""] * len(details)

    def join(index: int) -> None:
        try:
            meet(Cluster(tuple(addresses), index), details[index], limit)
        except (SpecError, WorkersError) as error:
            raised[index] = str(error)

    threads = [threading.Thread(target=join, args=(index,)) for index in range(len(details))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_workers_of_one_command_meet() -> None:
    assert met(processes.addresses(4), [{"the records": "r1"}] * 4) == [""] * 4


def test_a_worker_that_was_started_otherwise_is_named_to_all() -> None:
    batch_sizes = [{"train.batch_size": size} for size in (16, 16, 32)]
    raised = met(processes.addresses(3), batch_sizes)
    for index in (0, 1):
        assert "another value of train.batch_size (32, worker" in raised[index]
        assert raised[index].startswith("worker 2 (127.0.0.1:")
    assert raised[2].startswith("worker 0 (127.0.0.1:")


def test_a_worker_that_does_not_come_is_named_after_the_limit() -> None:
    addresses = processes.addresses(3)
    raised = met(addresses, [{}, {}], limit=0.5)
    for index in (0, 1):
        assert f"worker {index}: worker 2 ({addresses[2]}) did not answer within 0.5 s" in raised[index]


def test_a_process_that_is_no_waiting_worker_is_not_taken_for_one() -> None:
    """What listens at worker 0's address speaks another protocol, as a TensorFlow server that still trains does."""
    addresses = processes.addresses(2)
    with socket.create_server(("127.0.0.1", int(addresses[0].split(":")[1]))) as other:

        def answer() -> None:
            while True:
                try:
                    connection, _ = other.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"\x00\x00\x12\x04\x00\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(WorkersError, match=r"worker 1: worker 0 \(.*\) did not answer"):
            meet(Cluster(tuple(addresses), 1), {}, 0.6)
        other.shutdown(socket.SHUT_RDWR)


def test_a_port_that_is_taken_is_one_line() -> None:
    addresses = processes.addresses(2)
    with (
        socket.create_server(("127.0.0.1", int(addresses[0].split(":")[1]))),
        pytest.raises(SpecError, match=r"worker 0: cannot listen at port \d+ \(.*\); end what runs there"),
    ):
        meet(Cluster(tuple(addresses), 0), {}, 1.0)


# --- a run -------------------------------------------------------------------------------------------------------------


def test_alone_a_process_is_its_own_chief() -> None:
    workers = Workers()
    workers.wait()
    assert workers.is_chief
    assert workers.from_chief(lambda: 7) == 7


def test_a_batch_that_replicas_do_not_divide_is_named_with_the_next_that_they_do() -> None:
    config = load_config(None, ["train.batch_size=16", "train.fresh_items=9"])
    check_divisible(config, ["train.fresh_items"], 3)
    with pytest.raises(DataError, match=r"train.batch_size: not divisible by 3 replicas; --set train.batch_size=18$"):
        check_divisible(config, ["train.batch_size", "train.fresh_items"], 3)


def test_a_cluster_that_never_comes_up_leaves_nothing_behind(tmp_path: Path, whole: Whole) -> None:
    arguments = ["train", "--records", str(whole.records), "--out", str(tmp_path / "run"), "--strategy", "multiworker"]
    config = processes.tf_config(processes.addresses(2), 1)
    changes = ["--set", "train.worker_timeout=0.3"]
    done = CliRunner(env={"TF_CONFIG": config}).invoke(main, [*arguments, *changes])
    assert done.exit_code == 75
    assert "triptych: worker 1: worker 0 (127.0.0.1:" in done.output
    assert not (tmp_path / "run").exists()


EPOCHS = 2
# Divisible by two and by three.
SETTINGS = [
    *SMALL,
    *processes.CERTAIN,
    "train.batch_size=12",
    "train.fresh_items=12",
    "cooccurrence.batch_size=12",
    "cooccurrence.epochs=1",
    "retrieval.queries_per_batch=12",
    f"train.epochs={EPOCHS}",
]


def arguments(whole: Whole, out: Path, *changes: str) -> list[str]:
    given = [f"--set={change}" for change in (*SETTINGS, *changes)]
    return ["--records", str(whole.records), "--out", str(out), *given]


def one_worker(whole: Whole, out: Path, *changes: str) -> Path:
    train.run(train.TrainJob(whole.records, out, load_config(None, [*SETTINGS, "train.strategy=cpu", *changes])))
    return out


@pytest.fixture(scope="module")
def alone(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one worker."""
    return one_worker(whole, tmp_path_factory.mktemp("alone") / "run")


def run_together(count: int, whole: Whole, folder: Path, *changes: str) -> Path:
    workers = processes.start(count, arguments(whole, folder / "run", *changes), folder)
    statuses = [worker.end() for worker in workers]
    assert statuses == [0] * count, [worker.lines[-5:] for worker in workers]
    epochs = [[line for line in worker.lines if re.match(r"  epoch +\d+/", line)] for worker in workers]
    assert all(lines == epochs[0] for lines in epochs)
    assert len(epochs[0]) == EPOCHS
    return folder / "run"


def assert_same_run(together: Path, alone: Path) -> None:
    """In weights and in what is measured; the time that steps take is not the same."""
    assert processes.largest_difference(together, alone) < 1e-4
    for row, expected in zip(RunFolder(together).read_metrics(), RunFolder(alone).read_metrics(), strict=True):
        assert set(row) == set(expected)
        for name in set(row) - {"seconds", "events_per_second"}:
            assert row[name] == pytest.approx(expected[name], rel=1e-3), name


def test_nothing_asks_the_chief_before_the_workers_are_connected(
    plain: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chief of two, whose connection is its own CPU; a question before it raises (whole clusters: the matrix)."""
    connected = []

    def start(self: Workers) -> tf.distribute.Strategy:
        connected.append(self.index)
        self._strategy = make_strategy("cpu")
        return self._strategy

    monkeypatch.setattr(Workers, "start", start)
    config = load_config(None, [*SETTINGS, "train.strategy=multiworker"])
    job = train.TrainJob(plain.records, tmp_path / "run", config)
    train.Trainer(job, Workers(Cluster(("a:1", "b:2"), 0)))
    assert connected == [0]
    assert RunFolder(tmp_path / "run").exists


@pytest.mark.matrix
def test_two_workers_train_what_one_does_and_the_chief_alone_writes(whole: Whole, alone: Path, tmp_path: Path) -> None:
    run = run_together(2, whole, tmp_path)
    assert_same_run(run, alone)
    for part in ("train", "valid"):
        assert len(list((run / "logs" / part).iterdir())) == 1
    assert {path.name for path in run.iterdir()} == {path.name for path in alone.iterdir()}


@pytest.mark.matrix  # half a minute each
def test_three_workers_train_what_one_does(whole: Whole, alone: Path, tmp_path: Path) -> None:
    assert_same_run(run_together(3, whole, tmp_path), alone)


@pytest.mark.matrix  # half a minute each
@pytest.mark.parametrize("change", ["train.encoders=finetune", "retrieval.softmax=in_batch"])
def test_two_workers_do_in_other_modes_what_one_does(change: str, whole: Whole, tmp_path: Path) -> None:
    alone = one_worker(whole, tmp_path / "alone", change)
    assert_same_run(run_together(2, whole, tmp_path, change), alone)


@pytest.mark.matrix  # half a minute each
@pytest.mark.parametrize("killed", [0, 1])
def test_after_a_kill_the_others_end_in_one_line_and_all_go_on_to_the_same_result(
    killed: int, whole: Whole, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    workers = processes.start(2, arguments(whole, out), tmp_path)
    try:
        deadline = time.monotonic() + 200
        while not (out / "metrics.jsonl").is_file():
            assert time.monotonic() < deadline, [worker.lines[-5:] for worker in workers]
            time.sleep(0.02)
    finally:
        workers[killed].kill()
    assert workers[1 - killed].end() == 75
    # TensorFlow's own messages may come behind it.
    (line,) = [line for line in workers[1 - killed].lines if line.startswith("triptych: ")]
    assert line.startswith(f"triptych: worker {1 - killed}: lost another worker (")
    assert line.endswith(
        "start all 2 workers again with the same command, the run goes on from its last finished epoch"
    )
    assert len(RunFolder(out).read_metrics()) < EPOCHS
    again = processes.start(2, arguments(whole, out), tmp_path)
    assert [worker.end() for worker in again] == [0, 0]
    assert all("Continuing after epoch 1." in worker.lines for worker in again)
    assert_same_run(out, alone)
