"""Requests that bulk lists are made of: the further inputs of an export, and exports of contract 1."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from toy_models import export_shop

from pipelines.bulk_lists.given_histories import of_file
from pipelines.bulk_lists.lister import Lister, ListOptions, padded
from pipelines.bulk_lists.requested import checked, notes, selected
from pipelines.bulk_lists.selection import Selection
from pipelines.config.running import RecommendConfig
from tfrecs.errors import DataError, SpecError
from tfrecs.reading.known_events import KnownEvents

SETTINGS = RecommendConfig(batch_size=2, threads=2)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Lister:
    """Items a to e with the scores 5 to 1, whatever the history; takes a device and an age."""
    model = tmp_path_factory.mktemp("models") / "shop"
    export_shop(model / "1")
    return Lister(model, 1)


def given(shop: Lister, folder: Path, *rows: dict[str, Any]) -> KnownEvents:
    (folder / "h.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return of_file(folder / "h.jsonl", shop.specs)


ROWS = (
    {"user_id": "p", "history": ["a"], "history_values": [2], "history_times": [1_700_000_000], "age": 30},
    {"user_id": "q", "history": ["b", "c", "d"], "device": "phone", "exclude_ids": ["a", "b"], "now": 1_700_000_001},
    {"user_id": "r", "history": [], "device": "tv", "categories": "x, y", "diversity": 0.5, "query": "w"},
)


def test_columns_of_a_file_are_inputs_of_its_users(shop: Lister, tmp_path: Path) -> None:
    users = padded(given(shop, tmp_path, *ROWS))
    inputs = shop.inputs(users, np.array([1, 0, 2]), ListOptions(k=2))
    assert inputs["history_ids"].tolist() == [[b"b", b"c", b"d"], [b"a", b"", b""], [b"", b"", b""]]
    np.testing.assert_equal(inputs["history_values"], np.float32([[np.nan] * 3, [2, 0, 0], [0] * 3]))
    assert inputs["history_times"].tolist() == [[0, 0, 0], [1_700_000_000, 0, 0], [0, 0, 0]]
    assert inputs["device"].tolist() == [b"phone", b"", b"tv"]
    np.testing.assert_equal(inputs["age"], np.float32([np.nan, 30, np.nan]))
    assert inputs["exclude_ids"].tolist() == [[b"a", b"b"], [b"", b""], [b"", b""]]
    assert inputs["categories"].tolist() == [[b"", b""], [b"", b""], [b"x", b"y"]]
    assert inputs["diversity"].tolist() == [0, 0, 0.5]
    assert inputs["query"].tolist() == [b"", b"", b"w"]
    assert inputs["now"].tolist() == [1_700_000_001, 0, 0]
    assert inputs["k"].tolist() == [2, 2, 2]


def test_options_are_inputs_of_all_users_whose_file_has_no_such_column(shop: Lister, tmp_path: Path) -> None:
    users = padded(given(shop, tmp_path, *({"user_id": row["user_id"], "history": []} for row in ROWS)))
    options = checked(shop, ListOptions(k=2, now=9, exclude_ids=("a", "b"), context={"device": "tv", "age": "4"}))
    inputs = shop.inputs(users, np.array([0, 2]), options)
    assert inputs["exclude_ids"].tolist() == [[b"a", b"b"]] * 2
    assert inputs["categories"].shape == (2, 0)
    assert inputs["device"].tolist() == [b"tv"] * 2
    assert inputs["age"].tolist() == [4, 4]
    assert inputs["now"].tolist() == [9, 9]


def test_lists_are_in_the_order_of_the_users_whatever_the_batches(shop: Lister, tmp_path: Path) -> None:
    table = shop.lists(given(shop, tmp_path, *ROWS), ListOptions(k=2, explain=True), SETTINGS).to_pydict()
    assert table["user_id"] == ["p", "p", "q", "q", "r", "r"]
    assert table["rank"] == [1, 2] * 3
    assert table["item_id"] == ["a", "b", "c", "d", "a", "b"]  # q excludes a and b
    assert table["score"] == [5, 4, 3, 2, 5, 4]
    np.testing.assert_allclose(table["like"], [0.5, 0.4, 0.3, 0.2, 0.5, 0.4])


@pytest.mark.parametrize(
    ("lengths", "rows", "expected"),
    [
        ([1, 3, 0, 3, 2], 2, [[1, 3], [4, 0], [2]]),
        ([0, 0], 5, [[0, 1]]),
        ([], 5, []),
        ([1 << 20, 2, 1], 5, [[0], [1, 2]]),
    ],
)
def test_users_with_histories_of_like_length_share_a_call(
    shop: Lister, lengths: list[int], rows: int, expected: list[list[int]]
) -> None:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    nothing = np.zeros(0, np.int32)
    users = KnownEvents(["u"] * len(lengths), starts, nothing, nothing, nothing, np.zeros(0, object))
    settings = RecommendConfig(batch_size=rows)
    assert [batch.tolist() for batch in shop.batches(users, settings)] == expected


def test_what_is_not_known_of_users_is_told(shop: Lister, tmp_path: Path) -> None:
    users = given(shop, tmp_path, *ROWS[:2])
    lines = [*notes(shop, users, ListOptions(k=2))]
    assert lines == []
    users = given(shop, tmp_path, {"user_id": "p", "history": ["a"]})
    lines = [*notes(shop, users, ListOptions(k=2, context={"age": 3.0}))]
    assert lines == ["device: not known of the users, and sent as unknown; --context device=VALUE gives all the same"]


def test_new_users_are_users_without_events_and_inputs(shop: Lister, tmp_path: Path) -> None:
    users = selected(given(shop, tmp_path, *ROWS), Selection(("x", "q")), tmp_path, new_users=True)
    assert users.user_ids == ["x", "q"]
    assert users.lengths.tolist() == [0, 3]
    assert users.inputs["device"].tolist() == [b"", b"phone"]
    assert np.isnan(users.inputs["age"][0])
    assert users.inputs["diversity"].tolist() == [0, 0]
    assert users.inputs["exclude_ids"].tolist() == [[b"", b""], [b"a", b"b"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": {"age": "old"}}, "--context age=old: is a number in this export"),
        ({"context": {"query": "x"}}, "no such input; there are age, device"),
    ],
)
def test_a_context_that_the_export_does_not_take_is_refused(
    shop: Lister, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        checked(shop, ListOptions(k=2, **options))


def test_a_time_of_a_row_that_is_none_is_refused(shop: Lister, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: now: 1700000000000.* looks like milliseconds"):
        given(shop, tmp_path, {"user_id": "p", "history": [], "now": 1_700_000_000_000})


class Older(tf.Module):
    """The `recommend` of contract 1: k is one number for all rows. It gives the last of each history."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, "history_ids"),
            tf.TensorSpec([None, None], tf.float32, "history_values"),
            tf.TensorSpec([None, None], tf.int64, "history_times"),
            tf.TensorSpec([], tf.int32, "k"),
        ]
    )
    def recommend(self, history_ids, history_values, history_times, k):  # type: ignore[no-untyped-def]
        return {"ids": history_ids[:, :k], "scores": history_values[:, :k]}


def test_an_export_of_contract_1_gets_one_k_for_all(tmp_path: Path) -> None:
    module = Older()
    tf.saved_model.save(module, str(tmp_path / "old" / "1"), signatures={"recommend": module.recommend})
    lister = Lister(tmp_path / "old", 1)
    users = given(lister, tmp_path, {"user_id": "p", "history": ["a", "b"], "history_values": [7, 8]})
    table = lister.lists(users, ListOptions(k=1), SETTINGS).to_pydict()
    assert table == {"user_id": ["p"], "rank": [1], "item_id": ["a"], "score": [7]}
