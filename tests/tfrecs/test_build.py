"""Building records: what the Examples and the manifest hold, and that equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from small_folder import (
    EVENTS,
    ITEMS,
    USERS,
    change_spec,
    corrupt_events,
    digests,
    event_rows,
    examples,
    item_rows,
    make_folder,
    rejected,
    run,
    write_events,
    write_items,
)

from tfrecs.schema import Manifest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


def test_items_hold_every_feature_and_coverage_counts_what_is_there(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = run(data, out)
    items = examples(out, manifest.item_shards)
    assert [shard.records for shard in manifest.item_shards] == [8, 8, 8, 6]
    assert manifest.item_shards[0].name == "items-00000-of-00004.tfrecord"
    assert [item["item_id"][0].decode() for item in items] == ["фильм", *map(str, range(1, ITEMS))]
    assert items[7]["title"] == [b"Film 7"]
    assert set(items[7]) == {"item_id", "title", "items/text", "items/image", "items/timbre", "items/genres"}
    assert manifest.schema_.modalities == ("text", "image", "timbre", "genres")
    assert manifest.coverage == {"text": 1.0, "image": 0.8, "timbre": 1.0, "genres": 1.0}
    assert manifest.rejected == {}
    assert Manifest.load(out) == manifest
    assert "drama" in (out / "vocab.txt").read_text(encoding="utf-8").split("\n")


def test_training_holds_nothing_of_the_future_and_each_event_is_a_target_once(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = run(data, out)
    train, valid, test = (examples(out, manifest.splits[name].shards) for name in ("train", "valid", "test"))
    # 240 events with different times: 192, 24, 24.
    assert [manifest.splits[name].events for name in ("train", "valid", "test")] == [192, 24, 24]
    moments = sorted(int(row[2]) for row in event_rows())
    assert max(moment for one in train for moment in one["times"]) == moments[191] == manifest.splits["train"].last_time
    targets = {
        name: sorted(
            t for one in split for t, is_target in zip(one["times"], one["is_target"], strict=True) if is_target
        )
        for name, split in (("train", train), ("valid", valid), ("test", test))
    }
    assert targets == {"train": moments[:192], "valid": moments[192:216], "test": moments[216:]}
    for one in train:
        assert len(one["times"]) <= 6
        assert one["is_target"][0] == 1 or one["is_target"][:2] == [0, 0]
    for one in test:
        user = one["user_id"][0].decode()
        assert one["times"] == sorted(int(row[2]) for row in event_rows() if row[0] == user)


def test_events_carry_value_labels_context_and_user_features(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = run(data, out)
    by_time = {int(row[2]): row for row in event_rows()}
    training = sorted(by_time)[:192]
    warm = [float(by_time[moment][5]) for moment in training if by_time[moment][5]]
    for one in examples(out, manifest.splits["test"].shards):
        for at, moment in enumerate(one["times"]):
            _, item, _, rating, device, temperature = by_time[moment]
            assert one["item_ids"][at].decode() == item
            assert one["values"][at] == one["labels/rating"][at] == float(rating)
            assert one["labels/like"][at] == float(int(rating) >= 4)
            assert one["is_positive"][at] == int(int(rating) >= 3)
            assert one["context/device"][at].decode() == device
            assert one["context/temperature"][at] == pytest.approx(float(temperature or np.mean(warm)))
        assert "users/age" in one
        assert "context/hour" not in one
    ratings = [float(by_time[moment][3]) for moment in training]
    schema = manifest.schema_
    assert schema.value_mean == pytest.approx(np.mean(ratings))
    assert schema.value_std == pytest.approx(np.std(ratings))
    hour, device, temperature = schema.context
    assert (hour.source, hour.vocabulary[-1]) == ("time", "23")
    assert (device.source, device.vocabulary) == ("column", ("phone", "tv"))
    assert (temperature.kind, temperature.mean) == ("number", pytest.approx(np.mean(warm)))
    assert [(label.name, label.task, label.range) for label in schema.labels] == [
        ("like", "binary", None),
        ("rating", "regression", (1.0, 5.0)),
    ]
    assert (schema.has_time, schema.ordered) == (True, True)


def test_counts_for_popularity_come_from_positive_training_events_alone(data: Path, tmp_path: Path) -> None:
    manifest = run(data, tmp_path / "out")
    training = sorted(event_rows(), key=lambda row: int(row[2]))[:192]
    counts: dict[str, int] = {}
    for row in training:
        if int(row[3]) >= 3:
            counts[row[1]] = counts.get(row[1], 0) + 1
    assert manifest.train_counts == counts
    assert manifest.cold_items == ITEMS - len({row[1] for row in training})
    assert manifest.protocol == "global time split 80/10/10, positives with rating >= 3"


def test_the_same_input_and_seed_give_the_same_bytes_for_any_number_of_workers(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "one", workers=1)
    run(data, tmp_path / "three", workers=3)
    first, second = digests(tmp_path / "one"), digests(tmp_path / "three")
    assert first == second
    assert {"manifest.json", "rejected.jsonl", "vocab.txt"} < set(first)
    infos = Manifest.load(tmp_path / "one").item_shards
    assert [len(first[info.name]) for info in infos] == [info.bytes for info in infos]


def test_cold_items_lose_their_training_events_and_only_those(data: Path, tmp_path: Path) -> None:
    change_spec(data, "fractions: [0.8, 0.1, 0.1]", "fractions: [0.8, 0.1, 0.1], cold_items: 0.2")
    out = tmp_path / "out"
    manifest = run(data, out)
    training = sorted(event_rows(), key=lambda row: int(row[2]))[:192]
    kept = {item.decode() for one in examples(out, manifest.splits["train"].shards) for item in one["item_ids"]}
    cold = {row[1] for row in training} - kept
    assert 4 <= len(cold) <= 6
    dropped = sum(row[1] in cold for row in training)
    assert manifest.splits["train"].events == 192 - dropped
    assert [manifest.splits[name].events for name in ("valid", "test")] == [24, 24]
    assert manifest.interactions == 240 - dropped
    assert manifest.rejected == {}
    assert f"6 items made cold ({dropped} training interactions taken out)" in manifest.protocol


def test_leave_last_and_order_need_no_time(data: Path, tmp_path: Path) -> None:
    change_spec(data, "time: time", "order: time")
    change_spec(data, "context: [hour, device, temperature]", "context: [device]")
    change_spec(data, "split: {by: time, fractions: [0.8, 0.1, 0.1]}", "split: {by: leave_last}")
    out = tmp_path / "out"
    manifest = run(data, out)
    assert [manifest.splits[name].events for name in ("train", "valid", "test")] == [USERS * 18, USERS, USERS]
    assert (manifest.schema_.has_time, manifest.schema_.ordered) == (False, True)
    assert manifest.splits["train"].last_time is None
    for one in examples(out, manifest.splits["test"].shards):
        own = sorted((row for row in event_rows() if row[0] == one["user_id"][0].decode()), key=lambda row: int(row[2]))
        assert [item.decode() for item in one["item_ids"]] == [row[1] for row in own]
        assert one["is_target"] == [0] * 19 + [1]
        assert set(one["times"]) == {0}


def test_split_by_column_rejects_other_words(data: Path, tmp_path: Path) -> None:
    change_spec(data, "split: {by: time, fractions: [0.8, 0.1, 0.1]}", "split: {by: column, column: device}")
    words_of = {"phone": "train", "tv": "val", "": "test"}
    rows = [[*row[:4], words_of[row[4]], row[5]] for row in event_rows()]
    rows[3][4] = "dev"
    write_events(data, rows)
    change_spec(data, "context: [hour, device, temperature]", "context: []")
    manifest = run(data, tmp_path / "out")
    counts = {word: sum(row[4] == word for row in rows) for word in ("train", "val", "test")}
    assert {name: manifest.splits[name].events for name in ("train", "valid", "test")} == {
        "train": counts["train"],
        "valid": counts["val"],
        "test": counts["test"],
    }
    assert rejected(tmp_path / "out")[0]["line"] == 5
    assert manifest.rejected == {"split is none of train, valid, test": 1}


def test_iso_times_and_unix_seconds_are_the_same_moment(data: Path, tmp_path: Path) -> None:
    plain = run(data, tmp_path / "plain")
    rows = event_rows()
    for number, row in enumerate(rows):
        moment = np.datetime_as_string(np.datetime64(int(row[2]), "s"))
        row[2] = (f"{moment}Z", f"{moment}+00:00", row[2], f"{moment}.250")[number % 4]
    write_events(data, rows)
    mixed = run(data, tmp_path / "mixed")
    assert mixed.splits == plain.splits


def test_an_unrated_interaction_stays_with_an_unknown_label_and_the_mean_value(data: Path, tmp_path: Path) -> None:
    at = min(range(USERS * EVENTS), key=lambda row: int(event_rows()[row][2]))
    corrupt_events(data, at, 3, "")
    manifest = run(data, tmp_path / "out")
    assert manifest.rejected == {}
    first = next(
        one for one in examples(tmp_path / "out", manifest.splits["train"].shards) if one["times"][0] == 1_513_000_000
    )
    assert np.isnan(first["labels/like"][0])
    assert np.isnan(first["labels/rating"][0])
    assert first["is_positive"][0] == 0
    assert first["values"][0] == pytest.approx(manifest.schema_.value_mean)


def test_halves_of_surrogate_pairs_in_json_do_not_stop_the_build(data: Path, tmp_path: Path) -> None:
    rows = item_rows()
    rows[5]["title"] = "Broken \ud83d"
    write_items(data, [*rows, {**rows[6], "item_id": "\udc00"}])
    manifest = run(data, tmp_path / "out")
    items = examples(tmp_path / "out", manifest.item_shards)
    assert items[5]["title"] == [b"Broken ?"]
    assert items[5]["items/text"] == [b"Broken ? noir, film"]
    assert items[ITEMS]["item_id"] == [b"?"]


def test_progress_goes_from_nothing_to_all_in_every_stage(data: Path, tmp_path: Path) -> None:
    told: dict[str, tuple[int, int]] = {}
    run(data, tmp_path / "out", progress=lambda stage, done, total: told.__setitem__(stage, (done, total)))
    assert set(told) == {"read", "sort", "count", "vocabulary", "items", "train", "valid", "test"}
    assert all(done == total > 0 for done, total in told.values())


def test_a_vocabulary_is_trained_on_evenly_spaced_texts_of_a_large_catalogue(data: Path, tmp_path: Path) -> None:
    seen: dict[int | None, list[str]] = {}

    def learn(most: int | None) -> None:
        def train(texts: Iterable[str]) -> list[str]:
            seen[most] = list(texts)
            return ["[PAD]"]

        run(data, tmp_path / str(most), train_vocabulary=train, vocabulary_texts=most)

    for most in (None, 1000, 8):
        learn(most)
    assert seen[1000] == seen[None]
    assert len(seen[None]) > 16  # so that more than every second one is left out
    assert seen[8] == seen[None][:: -(-len(seen[None]) // 8)]


def test_a_given_vocabulary_and_the_oracle_are_copied(data: Path, tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("[PAD]\nfilm\n")
    np.savez(data / "oracle.npz", scores=np.eye(3))
    change_spec(data, "name: tiny", "name: tiny\noracle: oracle.npz")
    manifest = run(data, tmp_path / "out", vocabulary_file=tmp_path / "given.txt")
    assert (tmp_path / "out" / "vocab.txt").read_text() == "[PAD]\nfilm\n"
    assert manifest.oracle == "oracle.npz"
    assert (tmp_path / "out" / "oracle.npz").read_bytes() == (data / "oracle.npz").read_bytes()
