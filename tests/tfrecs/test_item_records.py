"""Items' records read by their place in the files: the same bytes as TensorFlow reads, in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfrecs.errors import DataError
from tfrecs.reading.item_records import ItemRecords

SHARDS = ([b"a", b"", b"ccc"], [], [b"dddd", b"e"])
ALL = [record for shard in SHARDS for record in shard]


def written(folder: Path) -> ItemRecords:
    paths = []
    for number, shard in enumerate(SHARDS):
        paths.append(folder / f"{number}.tfrecord")
        with tf.io.TFRecordWriter(str(paths[-1])) as writer:
            for record in shard:
                writer.write(record)
    return ItemRecords.of_shards(paths, [np.array([len(record) for record in shard], np.int64) for shard in SHARDS])


def test_any_records_are_read_in_the_order_asked_for(tmp_path: Path) -> None:
    records = written(tmp_path)
    assert len(records) == 5
    assert records[:].tolist() == ALL
    assert records[np.array([4, 0, 2, 0])].tolist() == [b"e", b"a", b"ccc", b"a"]
    assert records[1:4].tolist() == [b"", b"ccc", b"dddd"]
    assert records[np.zeros(0, np.int64)].tolist() == []


def test_a_part_and_a_sequence_of_two_name_records_wherever_they_lie(tmp_path: Path) -> None:
    kept = written(tmp_path).take([3, 0])
    assert kept[:].tolist() == [b"dddd", b"a"]
    both = kept.followed_by(ItemRecords.of_bytes([b"new", b"", b"newer"]))
    assert both[np.array([4, 1, 2, 3, 0])].tolist() == [b"newer", b"a", b"new", b"", b"dddd"]
    assert both.take([2]).followed_by(kept)[:].tolist() == [b"new", b"dddd", b"a"]


def test_they_are_strings_of_a_graph(tmp_path: Path) -> None:
    records = written(tmp_path)
    rows = tf.data.Dataset.from_tensor_slices([[2, 0], [1, 4]]).map(
        lambda index: tf.numpy_function(records.__getitem__, [index], tf.string)
    )
    assert [row.tolist() for row in rows.as_numpy_iterator()] == [[b"ccc", b"a"], [b"", b"e"]]


def test_a_file_that_is_gone_or_was_cut_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    records = written(tmp_path)
    (tmp_path / "2.tfrecord").write_bytes((tmp_path / "2.tfrecord").read_bytes()[:-6])
    with pytest.raises(DataError, match=r"2.tfrecord: shorter than it was; build the records again"):
        records[:]
    (tmp_path / "2.tfrecord").unlink()
    with pytest.raises(DataError, match=r"2.tfrecord: cannot be read .*; build the records again"):
        records[:]
    assert records[:3].tolist() == ALL[:3]
