"""Building records: the contract of the Examples, what bad input does, and that it is the whole or nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecs.build import build
from tfrecs.errors import DataError, SpecError, TooManyRejectsError, TriptychError
from tfrecs.schema import Manifest
from tfrecs.spec import load_spec

ITEMS, USERS, EVENTS = 30, 12, 20
OPTIONS: dict[str, dict[str, Any]] = {"image": {"size": 16}, "text": {"max_tokens": 8}}

SPEC = """
name: tiny
items:
  file: items.jsonl
  id: item_id
  title: title
  features:
    text: {kind: text, columns: [title, genres]}
    image: {kind: image, column: image}
    timbre: {kind: vector, file: timbre.npy, row: row}
    genres: {kind: categories, column: genres}
interactions:
  file: events.tsv
  user: user
  item: item
  time: time
  labels:
    like: {column: rating, at_least: 4}
    rating: {column: rating, range: [1, 5]}
  positive: {column: rating, at_least: 3}
  context: [hour, device, temperature]
users: {file: users.csv, id: user, features: {age: {kind: categories, column: age}}}
split: {by: time, fractions: [0.8, 0.1, 0.1]}
"""


def item_rows() -> list[dict[str, Any]]:
    """Item ids are integers, the first a word in another script; every fifth lacks its picture."""
    rows: list[dict[str, Any]] = []
    for number in range(ITEMS):
        image = None if number % 5 == 4 else f"images/{number}.png"
        genres = [["drama", "comedy", "noir"][number % 3], "film"]
        rows.append({"item_id": number, "title": f"Film {number}", "genres": genres, "image": image, "row": number})
    rows[0]["item_id"] = "фильм"
    return rows


def event_rows() -> list[list[str]]:
    """User u's events at the seconds u, u + 1000, ...: times are all different and users interleave."""
    generator = np.random.default_rng(5)
    ids = [str(row["item_id"]) for row in item_rows()]
    rows = []
    for user in range(USERS):
        for number in range(EVENTS):
            moment, rating = 1_000_000 + 1000 * number + user, int(generator.integers(1, 6))
            device, temperature = ("phone", "tv", "")[number % 3], f"{number / 2}" if number % 7 else ""
            rows.append([f"u{user}", ids[generator.integers(ITEMS)], str(moment), str(rating), device, temperature])
    return [rows[index] for index in generator.permutation(len(rows))]


def write_events(folder: Path, rows: Iterable[list[str]]) -> None:
    header = ["user", "item", "time", "rating", "device", "temperature"]
    (folder / "events.tsv").write_text("".join("\t".join(row) + "\n" for row in [header, *rows]), encoding="utf-8")


def write_items(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "dataset.yaml").write_text(SPEC, encoding="utf-8")
    write_items(folder, item_rows())
    for number in range(ITEMS):
        Image.new("RGB", (20, 24), (number, 90, 200)).save(folder / "images" / f"{number}.png")
    np.save(folder / "timbre.npy", np.random.default_rng(0).normal(size=(ITEMS, 4)).astype(np.float32))
    write_events(folder, event_rows())
    ages = "".join(f"u{user},{20 + user % 3}\n" for user in range(USERS - 1))  # The last user has no row.
    (folder / "users.csv").write_text(f"user,age\n{ages}", encoding="utf-8")
    return folder


def words(texts: Iterable[str]) -> list[str]:
    """Stands for the WordPiece trainer, which is another room's."""
    return ["[PAD]", "[UNK]", *sorted({word for text in texts for word in re.findall(r"\w+", text.lower())})]


def run(data: Path, out: Path, **changed: Any) -> Manifest:
    settings: dict[str, Any] = {
        "seed": 1, "max_bad": 0.2, "window": 6, "overlap": 2, "items_per_shard": 8, "examples_per_shard": 10,
        "kind_options": OPTIONS, "train_vocabulary": words, "vocabulary_file": None, "workers": 2, "progress": None,
    }  # fmt: skip
    return build(load_spec(data, None), data, out, **(settings | changed))


def change_spec(data: Path, old: str, new: str) -> None:
    text = (data / "dataset.yaml").read_text()
    assert old in text
    (data / "dataset.yaml").write_text(text.replace(old, new))


def examples(out: Path, shards: Iterable[Any]) -> list[dict[str, list[Any]]]:
    found = []
    for shard in shards:
        for record in tf.data.TFRecordDataset(str(out / shard.name)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            found.append({key: list(getattr(one, one.WhichOneof("kind")).value) for key, one in feature.items()})
    return found


def rejected(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]


def digests(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


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


def corrupt_events(data: Path, at: int, column: int, value: str) -> None:
    rows = event_rows()
    rows[at][column] = value
    write_events(data, rows)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (0, "", "interaction without a user id"),
        (1, "", "interaction without an item id"),
        (1, "no such item", "interaction with an unknown item"),
        (2, "NaN", "time is neither unix seconds nor ISO-8601"),
        (2, "", "time is neither unix seconds nor ISO-8601"),
        (2, "yesterday", "time is neither unix seconds nor ISO-8601"),
        (2, "1500000000000", "time is out of range (milliseconds? unix seconds are read)"),
        (2, "-5", "time is out of range (milliseconds? unix seconds are read)"),
        (3, "good", "event value is not a number"),
        (3, "6", "label rating is outside its range"),
        (3, "4\t4\t4", "malformed line"),
    ],
)
def test_a_bad_interaction_is_rejected_by_line_and_reason(
    data: Path, tmp_path: Path, column: int, value: str, reason: str
) -> None:
    corrupt_events(data, 9, column, value)
    manifest = run(data, tmp_path / "out")
    assert manifest.rejected == {reason: 1}
    assert manifest.interactions == USERS * EVENTS - 1
    only = rejected(tmp_path / "out")[0]
    assert (only["file"], only["line"], only["reason"]) == ("events.tsv", 11, reason)


def test_an_unrated_interaction_stays_with_an_unknown_label_and_the_mean_value(data: Path, tmp_path: Path) -> None:
    at = min(range(USERS * EVENTS), key=lambda row: int(event_rows()[row][2]))
    corrupt_events(data, at, 3, "")
    manifest = run(data, tmp_path / "out")
    assert manifest.rejected == {}
    first = next(
        one for one in examples(tmp_path / "out", manifest.splits["train"].shards) if one["times"][0] == 1_000_000
    )
    assert np.isnan(first["labels/like"][0])
    assert np.isnan(first["labels/rating"][0])
    assert first["is_positive"][0] == 0
    assert first["values"][0] == pytest.approx(manifest.schema_.value_mean)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": "images/none.png"}, "image: no such file"),
        ({"image": "../outside.png"}, "image: path leads out of the data folder"),
        ({"image": "/etc/hostname"}, "image: path leads out of the data folder"),
        ({"image": "broken.png"}, "image: cannot be encoded"),
        ({"image": "empty.png"}, "image: cannot be encoded"),
        ({"image": "images"}, "image: no such file"),
        ({"row": ITEMS}, "timbre: no such row"),
        ({"row": -1}, "timbre: no such row"),
        ({"row": "x"}, "timbre: no such row"),
    ],
)
def test_a_bad_feature_is_rejected_and_the_item_kept(
    data: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    shutil.copy(data / "images" / "1.png", data.parent / "outside.png")
    (data / "broken.png").write_bytes((data / "images" / "1.png").read_bytes()[:40])
    (data / "empty.png").write_bytes(b"")
    rows = item_rows()
    rows[3] |= change
    write_items(data, rows)
    manifest = run(data, tmp_path / "out")
    assert manifest.rejected == {reason: 1}
    assert manifest.items == ITEMS
    feature = reason.split(":")[0]
    assert manifest.coverage[feature] == pytest.approx((24 if feature == "image" else ITEMS) / ITEMS - 1 / ITEMS)
    only = rejected(tmp_path / "out")[0]
    assert (only["file"], only["line"], only["id"], only["feature"]) == ("items.jsonl", 4, "3", feature)
    assert only["detail"]


def test_duplicate_and_nameless_items_are_rejected_and_the_first_kept(data: Path, tmp_path: Path) -> None:
    rows = item_rows()
    write_items(data, [*rows, {**rows[2], "title": "Second"}, {**rows[3], "item_id": None}])
    manifest = run(data, tmp_path / "out")
    assert manifest.items == ITEMS
    assert manifest.rejected == {"duplicate item id": 1, "item without an id": 1}
    assert examples(tmp_path / "out", manifest.item_shards)[2]["title"] == [b"Film 2"]
    assert rejected(tmp_path / "out")[0] == {
        "file": "items.jsonl", "line": ITEMS + 1, "id": "2", "reason": "duplicate item id",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lambda data: shutil.rmtree(data / "images"), TooManyRejectsError, "image"),
        (lambda data: (data / "items.jsonl").unlink(), DataError, "no file 'items.jsonl'"),
        (lambda data: (data / "users.csv").unlink(), DataError, "no file 'users.csv'"),
        (lambda data: (data / "timbre.npy").unlink(), DataError, "timbre.npy"),
        (lambda data: (data / "timbre.npy").write_bytes(b"x"), DataError, "timbre.npy: not a .npy matrix"),
        (lambda data: (data / "events.tsv").write_text(""), DataError, "events.tsv: no rows"),
        (lambda data: (data / "items.jsonl").write_text(""), DataError, "items.jsonl: no rows"),
        (
            lambda data: change_spec(data, "item: item\n", "item: itm\n"),
            DataError,
            "no column 'itm'; did you mean 'item'",
        ),
        (lambda data: change_spec(data, "column: image", "column: img"), DataError, "no column 'img'"),
        (lambda data: change_spec(data, "kind: image", "kind: photo"), SpecError, "unknown kind 'photo'"),
        (lambda data: change_spec(data, "kind: image", "kind: image, sise: 9"), SpecError, "items.features.image"),
        (lambda data: write_events(data, [[*r[:2], "x", *r[3:]] for r in event_rows()]), DataError, "no usable"),
        (lambda data: change_spec(data, "name: tiny", "name: tiny\noracle: none.npz"), DataError, "none.npz"),
    ],
)
def test_input_that_cannot_be_built_is_one_line_and_leaves_nothing(
    data: Path, tmp_path: Path, damage: Any, kind: type[TriptychError], message: str
) -> None:
    damage(data)
    out = tmp_path / "records" / "out"
    with pytest.raises(kind) as error:
        run(data, out)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not out.parent.exists() or not any(out.parent.iterdir())


def test_too_many_rejects_leave_former_records_as_they_were(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data, out)
    before = digests(out)
    corrupt_events(data, 9, 1, "no such item")
    with pytest.raises(TooManyRejectsError, match=r"unknown item \(item is 'no such item'\), first events.tsv line 11"):
        run(data, out, max_bad=0.0)
    assert digests(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
    assert run(data, out).interactions == USERS * EVENTS - 1  # Records are replaced by records.
    assert digests(out) != before


def test_a_folder_with_anything_else_in_it_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    (out / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="will not overwrite"):
        run(data, out)
    assert (out / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        run(data, tmp_path / "file")


def test_an_interrupted_build_leaves_nothing(data: Path, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "items" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "out", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_progress_goes_from_nothing_to_all_in_every_stage(data: Path, tmp_path: Path) -> None:
    told: dict[str, tuple[int, int]] = {}
    run(data, tmp_path / "out", progress=lambda stage, done, total: told.__setitem__(stage, (done, total)))
    assert set(told) == {"read", "vocabulary", "items", "train", "valid", "test"}
    assert all(done == total > 0 for done, total in told.values())


def test_a_given_vocabulary_and_the_oracle_are_copied(data: Path, tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("[PAD]\nfilm\n")
    np.savez(data / "oracle.npz", scores=np.eye(3))
    change_spec(data, "name: tiny", "name: tiny\noracle: oracle.npz")
    manifest = run(data, tmp_path / "out", vocabulary_file=tmp_path / "given.txt")
    assert (tmp_path / "out" / "vocab.txt").read_text() == "[PAD]\nfilm\n"
    assert manifest.oracle == "oracle.npz"
    assert (tmp_path / "out" / "oracle.npz").read_bytes() == (data / "oracle.npz").read_bytes()
