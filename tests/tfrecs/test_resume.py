"""A build that was killed goes on where it stopped, and ends at the bytes of one that was not."""

from __future__ import annotations

import fcntl
import signal
import time
from pathlib import Path

import pytest
from killed_build import killed_build, run_forked
from small_folder import digests, item_rows, make_folder, run, write_items

from tfrecs.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


def killed(data: Path, out: Path, stage: str, done: int, processes_from: int = 10**9) -> None:
    assert run_forked(killed_build, data, out, stage, done, processes_from) == -signal.SIGKILL


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}


# 30 items in shards of 8: at the 16th two are whole. 12 users with 16 training events each, in windows of 6 with an
# overlap of 2: more than one shard of 10, the first whole when it is told.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "done", "processes_from", "kept"),
    [("items", 16, 10**9, 1), ("items", 17, 10**9, 2), ("items", 17, 0, 2), ("train", 10, 10**9, 5)],
)
def test_a_killed_build_keeps_whole_shards_and_ends_at_the_same_bytes(
    data: Path, tmp_path: Path, stage: str, done: int, processes_from: int, kept: int
) -> None:
    run(data, tmp_path / "straight")
    out = tmp_path / "out"
    killed(data, out, stage, done, processes_from)
    assert not out.exists()
    journal = tmp_path / ".out.partial" / "journal"
    finished = sorted(path.name.removesuffix(".json") for path in journal.glob("*.json"))
    assert len(finished) == kept
    before = stamps(tmp_path / ".out.partial" / "records")
    told: list[tuple[str, int, int]] = []
    time.sleep(0.01)
    run(data, out, progress=lambda *word: told.append(word))
    assert digests(out) == digests(tmp_path / "straight")
    after = stamps(out)
    assert {name for name in after if after[name] == before.get(name)} == set(finished)
    assert next(word for word in told if word[0] == "items") == ("items", min(8 * kept, 30), 30)
    assert not (tmp_path / ".out.partial").exists()


@pytest.mark.slow
def test_the_vocabulary_is_not_trained_twice(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "straight")
    killed(data, tmp_path / "out", "items", 9)

    def trains(texts: object) -> list[str]:
        raise AssertionError("trained again")

    run(data, tmp_path / "out", train_vocabulary=trains)
    assert digests(tmp_path / "out") == digests(tmp_path / "straight")
    killed(data, tmp_path / "other", "items", 9)
    with pytest.raises(AssertionError, match="trained again"):
        run(data, tmp_path / "other", train_vocabulary=trains, vocabulary_key="other words")


@pytest.mark.slow
def test_what_changed_meanwhile_is_made_again_and_nothing_else(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed(data, out, "items", 29)
    records = tmp_path / ".out.partial" / "records"
    before = stamps(records)
    with (records / "items-00001-of-00004.tfrecord").open("r+b") as shard:
        shard.seek(100)
        shard.write(b"x")  # A disk that lost a block in the crash.
    rows = item_rows()
    rows[16]["title"] = "Renamed"  # The first of the third shard.
    write_items(data, rows)
    time.sleep(0.01)
    run(data, out)
    after = stamps(out)
    assert [name for name in before if after[name] == before[name]] == ["items-00000-of-00004.tfrecord"]
    run(data, tmp_path / "straight")
    assert digests(out) == digests(tmp_path / "straight")


@pytest.mark.slow
def test_what_a_killed_build_of_other_shards_left_is_not_in_the_records(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed(data, out, "items", 29)
    run(data, out, items_per_shard=30, train_vocabulary=None)
    assert [path.name for path in sorted(out.glob("items-*"))] == ["items-00000-of-00001.tfrecord"]
    assert not (out / "vocab.txt").exists()


@pytest.mark.slow
def test_rejects_of_kept_shards_are_listed_as_in_a_straight_build(data: Path, tmp_path: Path) -> None:
    for number in (1, 10, 20):
        (data / "images" / f"{number}.png").write_bytes(b"no picture")
    straight = run(data, tmp_path / "straight")
    assert straight.rejected == {"image: cannot be encoded": 3}
    killed(data, tmp_path / "out", "items", 17)
    assert run(data, tmp_path / "out") == straight
    assert digests(tmp_path / "out") == digests(tmp_path / "straight")


@pytest.mark.slow
def test_a_kill_between_the_renames_loses_neither_old_nor_new(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data, out)
    before = digests(out)
    out.rename(tmp_path / ".out.former")
    killed(data, out, "items", 9)
    assert digests(out) == before
    run(data, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_two_builds_of_the_same_records_do_not_mix(data: Path, tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    with (partial / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another build is writing it"):
            run(data, tmp_path / "out")
    run(data, tmp_path / "out")


@pytest.mark.slow
def test_processes_and_threads_give_the_same_bytes(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "threads")
    run(data, tmp_path / "processes", processes_from=0, workers=2)
    assert digests(tmp_path / "threads") == digests(tmp_path / "processes")
