"""The file of a fitted item-item model: read where it is whole and this run's, else fitted again, and said."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.item_item import storage
from pipelines.item_item.model import ItemItemModel
from pipelines.item_item.sparse_top import Links
from towers.hybrid import NEIGHBOURS, RECENT, SUCCESSORS

NEAR = Links(np.array([[1, 2], [2, 0], [0, 0]], np.int32), np.array([[0.5, -0.25], [1.0, 0], [0, 0]], np.float32))
AFTER = Links(np.array([[0], [2], [0]], np.int32), np.array([[0.0], [2.0], [0]], np.float32))
MODEL = ItemItemModel(
    {NEIGHBOURS: NEAR, SUCCESSORS: AFTER},
    np.array([3.0, 2.0, 0.0], np.float32),
    np.array([False, False, True]),
    {NEIGHBOURS: 2, RECENT: 1, SUCCESSORS: 2},
)
OURS = storage.fingerprint(records="a", ease=[100.0, 0.0])


def never() -> ItemItemModel:
    raise AssertionError("fitted again")


def test_what_was_written_is_read_to_the_bit_and_nothing_is_fitted(tmp_path: Path) -> None:
    storage.save(tmp_path, MODEL, OURS)
    assert [path.name for path in tmp_path.iterdir()] == [storage.FILE]
    found = storage.load_or_fit(tmp_path, OURS, never)
    for name, links in MODEL.links.items():
        for kept, was in zip(found.links[name], links, strict=True):
            assert kept.dtype == was.dtype
            # Behind the values of a row the column is 0 whatever it was.
            np.testing.assert_array_equal(np.where(links.values != 0, kept, 0), np.where(links.values != 0, was, 0))
        assert not found.links[name].values[links.values == 0].any()
    np.testing.assert_array_equal(found.popularity, MODEL.popularity)
    np.testing.assert_array_equal(found.is_cold, MODEL.is_cold)
    assert found.last == MODEL.last


def changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.index(np.float32(-0.25).tobytes())
    data[place] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: None, "of other records or settings"),
        (Path.unlink, "not there"),
        (changed, "damaged"),
        (cut, "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
    ],
)
def test_what_is_missing_stale_or_damaged_is_fitted_again_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, said: str
) -> None:
    storage.save(tmp_path, MODEL, OURS)
    damage(tmp_path / storage.FILE)
    wanted = storage.fingerprint(records="b", ease=[100.0, 0.0]) if "other" in said else OURS
    assert storage.load_or_fit(tmp_path, wanted, lambda: MODEL) is MODEL
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert str(tmp_path / storage.FILE) in lines[0]
    # It was written again, for the next command.
    storage.load_or_fit(tmp_path, wanted, never)


def test_a_full_disk_costs_time_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pipelines.item_item.storage.np.savez", full)
    assert storage.load_or_fit(tmp_path, OURS, lambda: MODEL) is MODEL
    assert "No space left on device" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_was_killed_damages_nothing_and_its_rest_goes_with_the_next_training(tmp_path: Path) -> None:
    storage.save(tmp_path, MODEL, OURS)
    (tmp_path / f".{storage.FILE}.12345.tmp").write_bytes(b"half of a file")
    storage.load_or_fit(tmp_path, OURS, never)
    storage.forget(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_follows_what_it_is_made_of() -> None:
    assert storage.fingerprint(ease=[100.0, 0.0], records="a") == OURS
    assert storage.fingerprint(records="a", ease=[100.0, 30.0]) != OURS
