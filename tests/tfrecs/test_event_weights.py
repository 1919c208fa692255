"""Weights, explicit negatives and merged repetitions: from the spec to the Examples, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growing_folder import add
from small_folder import change_spec, digests, examples, rejected, run

from pipelines.building.builder import summary
from tfrecs.errors import DataError, SpecError, TooManyRejectsError
from tfrecs.reading.reader import load_catalogue, load_histories
from tfrecs.reading.training_events import load_training_events
from tfrecs.schema import Manifest
from tfrecs.spec.dataset_yaml import infer_spec, load_spec, spec_to_yaml

WEIGHT = "{column: event, values: {view: 0.2, cart: 0, buy: 3, dislike: -1}}"
SPEC = f"""
name: shop
items: {{file: items.csv, id: item_id, title: title, features: {{text: {{kind: text, column: title}}}}}}
interactions: {{file: log.jsonl, user: user_id, item: item_id, time: at, weight: {WEIGHT}}}
split: {{by: time, fractions: [0.6, 0.2, 0.2]}}
"""
# One a second: the first six are train, then two are valid and two test.
LOG = [
    ("a", "i0", "view"),
    ("b", "i1", "buy"),
    ("a", "i1", "dislike"),
    ("b", "i0", "cart"),
    ("a", "i0", "buy"),
    ("b", "i2", "view"),
    ("a", "i2", "view"),
    ("b", "i3", "buy"),
    ("a", "i3", "buy"),
    ("b", "i4", "dislike"),
]


def write(folder: Path, log: list[tuple[str, str, Any]], column: str = "event") -> None:
    rows = [
        {"user_id": user, "item_id": item, "at": 1_513_000_000 + at, column: event}
        for at, (user, item, event) in enumerate(log)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset.yaml").write_text(SPEC)
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},a quiet film {n}\n" for n in range(5)))
    write(folder, LOG)
    return folder


def of_users(out: Path, manifest: Manifest, split: str, key: str) -> dict[str, list[Any]]:
    return {one["user_id"][0].decode(): one[key] for one in examples(out, manifest.splits[split].shards)}


def test_the_event_value_is_the_weight_and_its_sign_tells_a_positive(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = run(data, out)
    assert of_users(out, manifest, "train", "values") == {
        "a": pytest.approx([0.2, -1.0, 3.0]),
        "b": pytest.approx([3.0, 0.0, 0.2]),
    }
    # An explicit negative and a weight of 0 are history, never positives.
    assert of_users(out, manifest, "train", "is_positive") == {"a": [1, 0, 1], "b": [1, 0, 1]}
    assert of_users(out, manifest, "test", "values")["b"] == pytest.approx([3.0, 0.0, 0.2, 3.0, -1.0])
    assert (manifest.schema_.has_weights, manifest.schema_.value_mean) == (True, pytest.approx(5.4 / 6))
    assert {name: split.negatives for name, split in manifest.splits.items()} == {"train": 1, "valid": 0, "test": 1}
    # Counts, not sums of weights: a dislike of i1 does not take its purchase away.
    assert manifest.train_counts == {"i0": 2, "i1": 1, "i2": 1}
    assert manifest.protocol.endswith("positives with a weight above 0 (view 0.2, cart 0, buy 3, dislike -1)")
    assert "Explicit negatives among them (a weight below 0): train 1, test 1." in summary(manifest, out)


def test_training_events_are_the_positives_with_weights_of_mean_one(data: Path, tmp_path: Path) -> None:
    manifest = run(data, tmp_path / "out")
    events = load_training_events(tmp_path / "out", manifest, load_catalogue(tmp_path / "out", manifest).ids)
    # view, buy | buy, view: 0.2, 3, 3 and 0.2 have the mean 1.6.
    assert events.items.tolist() == [0, 0, 1, 2]
    assert events.weights is not None
    np.testing.assert_allclose(events.weights, [0.125, 1.875, 1.875, 0.125], rtol=1e-6)


def test_targets_of_the_held_out_splits_may_need_a_larger_weight(data: Path, tmp_path: Path) -> None:
    def positives(out: Path) -> dict[str, list[bool]]:
        manifest = Manifest.load(out)
        histories = load_histories(out, manifest, "valid", load_catalogue(out, manifest).ids)
        return {history.user_id: history.positive[history.target].tolist() for history in histories}

    run(data, tmp_path / "any")
    assert positives(tmp_path / "any") == {"a": [True], "b": [True]}
    change_spec(data, "dislike: -1}", "dislike: -1}, held_out_at_least: 3")
    manifest = run(data, tmp_path / "bought")
    assert positives(tmp_path / "bought") == {"a": [False], "b": [True]}  # a only looked at i2
    assert manifest.train_counts == {"i0": 2, "i1": 1, "i2": 1}
    assert manifest.protocol.endswith("dislike -1), held-out ones of at least 3")


def test_records_without_weights_say_nothing_of_them(data: Path, tmp_path: Path) -> None:
    change_spec(data, f", weight: {WEIGHT}", "")
    manifest = run(data, tmp_path / "out")
    text = (tmp_path / "out" / "manifest.json").read_text()
    assert not [word for word in ("weights", "negatives", "merged", "held_out") if word in text]
    assert Manifest.load(tmp_path / "out") == manifest
    assert load_training_events(tmp_path / "out", manifest, np.array([f"i{n}" for n in range(5)])).weights is None


def test_an_event_of_another_type_is_rejected_with_the_types_that_there_are(data: Path, tmp_path: Path) -> None:
    write(data, [*LOG, ("a", "i4", "share"), ("b", "i0", None)])
    manifest = run(data, tmp_path / "out")
    reason = "event type is none of interactions.weight.values (view, cart, buy, dislike)"
    assert manifest.rejected == {reason: 2}
    assert [(one["line"], one["detail"]) for one in rejected(tmp_path / "out")] == [
        (11, "event is 'share'"),
        (12, "event is empty"),
    ]
    with pytest.raises(TooManyRejectsError, match=r"none of interactions.weight.values \(view, cart, buy, dislike\)"):
        run(data, tmp_path / "strict", max_bad=0.01)


@pytest.mark.parametrize("weight", ["strength", "{column: strength}"])
def test_a_column_of_numbers_is_the_weight_itself(data: Path, tmp_path: Path, weight: str) -> None:
    change_spec(data, WEIGHT, weight)
    write(data, [(user, item, at - 2) for at, (user, item, _) in enumerate(LOG)] + [("a", "i0", "much")], "strength")
    manifest = run(data, tmp_path / "out")
    assert of_users(tmp_path / "out", manifest, "train", "values") == {"a": [-2, 0, 2], "b": [-1, 1, 3]}
    assert manifest.rejected == {"weight is not a number": 1}
    assert "positives with a weight above 0 (column strength)" in manifest.protocol


def test_numbers_can_name_event_types(data: Path, tmp_path: Path) -> None:
    change_spec(data, WEIGHT, "{column: event, values: {1: 0.2, 4: 3}}")
    write(data, [(user, item, 1 if event == "view" else 4) for user, item, event in LOG])
    assert of_users(tmp_path / "out", run(data, tmp_path / "out"), "train", "values")["b"] == pytest.approx([3, 3, 0.2])


def test_a_log_without_a_positive_is_one_line(data: Path, tmp_path: Path) -> None:
    write(data, [(user, item, "dislike") for user, item, _ in LOG])
    with pytest.raises(DataError, match=r"log.jsonl: no event of the train split is a positive \(a weight above 0\)"):
        run(data, tmp_path / "out")
    change_spec(data, "dislike: -1}", "dislike: -1}, held_out_at_least: 1")
    write(data, [(user, item, event if at < 6 else "view") for at, (user, item, event) in enumerate(LOG)])
    with pytest.raises(DataError, match=r"the valid split is a positive \(a weight >= 1\).*`weight.held_out_at_least`"):
        run(data, tmp_path / "out")


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("{column: event, values: {}}", ["interactions.weight.values", "at least 1"]),
        ("{column: event, values: {view: 0, hide: -1}}", ["interactions.weight", "none is above 0"]),
        ("{column: event, values: {view: .inf}}", ["interactions.weight.values.view", "finite"]),
        ("{column: event, values: {yes: 1}}", ["interactions.weight.values", "quotes"]),
        ("{column: event, value: {view: 1}}", ["interactions.weight.value", "did you mean 'values'"]),
        ("{column: event, values: {view: 1}, held_out_at_least: 2}", ["interactions.weight", "at most 1"]),
        ("{column: event}, value: event", ["interactions", "leave `value` out"]),
        ("{column: event}, positive: {column: event, at_least: 1}", ["interactions", "leave `positive` out"]),
        ("{column: event}, keep: newest", ["interactions.keep", "'first', 'last' or 'sum'"]),
    ],
)
def test_a_mistake_is_one_line_with_the_key_and_the_remedy(data: Path, new: str, words: list[str]) -> None:
    change_spec(data, WEIGHT, new)
    with pytest.raises(SpecError) as error:
        load_spec(data, None)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_sum_needs_something_to_add_up(data: Path) -> None:
    change_spec(data, f"weight: {WEIGHT}", "keep: sum")
    with pytest.raises(SpecError, match="keep: sum adds up weights or values, and there are none"):
        load_spec(data, None)


def test_the_spec_reads_back_as_it_is_written(data: Path) -> None:
    spec = load_spec(data, None)
    (data / "dataset.yaml").write_text(spec_to_yaml(spec))
    assert load_spec(data, None) == spec


@pytest.mark.parametrize(
    ("keep", "weights", "counts"),
    [
        # a: i0 viewed then bought, i1 disliked, i2 and i3; b has no repetition. Nine events, of which five are train.
        ("first", {"a": [0.2, -1.0], "b": [3.0, 0.0, 0.2]}, {"i0": 1, "i1": 1, "i2": 1}),
        ("last", {"a": [-1.0, 3.0], "b": [3.0, 0.0, 0.2]}, {"i0": 1, "i1": 1, "i2": 1}),
        ("sum", {"a": [-1.0, 3.2], "b": [3.0, 0.0, 0.2]}, {"i0": 1, "i1": 1, "i2": 1}),
    ],
)
def test_of_several_events_of_a_user_with_an_item_one_is_kept(
    data: Path, tmp_path: Path, keep: str, weights: dict[str, list[float]], counts: dict[str, int]
) -> None:
    change_spec(data, f"weight: {WEIGHT}", f"weight: {WEIGHT}, keep: {keep}")
    manifest = run(data, tmp_path / "out")
    assert (manifest.interactions, manifest.merged) == (9, 1)
    assert of_users(tmp_path / "out", manifest, "train", "values") == {
        user: pytest.approx(row) for user, row in weights.items()
    }
    assert manifest.train_counts == counts
    assert "Merged 1 interactions into others of the same user and item" in summary(manifest, tmp_path / "out")
    assert "of the events of a user with an item the " + keep.replace("sum", "last with the sum") in manifest.protocol


def test_a_sum_decides_whether_the_event_is_a_positive(data: Path, tmp_path: Path) -> None:
    # a's i1: 0.2 - 1 < 0. b's i1: 3 - 1 > 0, although its last event alone is a dislike.
    change_spec(data, f"weight: {WEIGHT}", f"weight: {WEIGHT}, keep: sum")
    write(data, [("a", "i1", "view"), *LOG[:2], ("b", "i1", "dislike"), *LOG[2:]])
    manifest = run(data, tmp_path / "out")
    assert of_users(tmp_path / "out", manifest, "train", "values") == {
        "a": pytest.approx([-0.8, 3.2]),
        "b": pytest.approx([2.0, 0.0, 0.2]),
    }
    assert of_users(tmp_path / "out", manifest, "train", "is_positive") == {"a": [0, 1], "b": [1, 0, 1]}


def test_sums_of_values_decide_by_the_rule_on_them(data: Path, tmp_path: Path) -> None:
    change_spec(data, f"weight: {WEIGHT}", "positive: {column: plays, at_least: 5}, keep: sum")
    write(data, [(user, item, 3 if at < 6 else 5) for at, (user, item, _) in enumerate(LOG)], "plays")
    manifest = run(data, tmp_path / "out")
    assert of_users(tmp_path / "out", manifest, "train", "values")["a"] == [3, 6]
    assert of_users(tmp_path / "out", manifest, "train", "is_positive")["a"] == [0, 1]


def test_event_types_can_be_a_label(data: Path, tmp_path: Path) -> None:
    label = "labels: {liked: {column: event, values: {buy: 1, dislike: 0}, at_least: 1}}"
    change_spec(data, f"weight: {WEIGHT}", f"weight: {WEIGHT}, {label}")
    manifest = run(data, tmp_path / "out")
    # A view says nothing of it: the label is unknown there, and the event stays.
    np.testing.assert_array_equal(of_users(tmp_path / "out", manifest, "train", "labels/liked")["a"], [np.nan, 0, 1])
    assert manifest.rejected == {}


def test_appended_events_have_the_weights_of_the_records(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data, out)
    write(data, [*LOG, ("a", "i4", "dislike"), ("b", "i0", "buy")])
    manifest = add(data, out).manifest
    newest = examples(out, manifest.splits["test"].shards[1:])
    assert [one["values"][-1] for one in newest] == [-1, 3]
    assert manifest.splits["test"].negatives == 2
    change_spec(data, "buy: 3", "buy: 5")
    with pytest.raises(DataError, match=r"split and positives of the records.*buy 3.*of the spec.*buy 5"):
        add(data, out)


@pytest.mark.parametrize("keep", ["first", "last", "sum"])
def test_a_grown_folder_appends_new_pairs_and_knows_what_was_merged(data: Path, tmp_path: Path, keep: str) -> None:
    change_spec(data, f"weight: {WEIGHT}", f"weight: {WEIGHT}, keep: {keep}")
    out = tmp_path / "out"
    run(data, out)
    before = digests(out)
    assert add(data, out).addition is None
    assert digests(out) == before
    write(data, [*LOG, ("a", "i4", "view"), ("a", "i4", "buy")])
    manifest = add(data, out).manifest
    (added,) = examples(out, manifest.splits["test"].shards[1:])
    assert added["values"][-1] == pytest.approx({"first": 0.2, "last": 3.0, "sum": 3.2}[keep])
    assert manifest.interactions == 10


def test_an_append_does_not_change_what_the_records_hold(data: Path, tmp_path: Path) -> None:
    change_spec(data, f"weight: {WEIGHT}", f"weight: {WEIGHT}, keep: last")
    out = tmp_path / "out"
    run(data, out)
    write(data, [*LOG, ("a", "i0", "dislike")])
    before = digests(out)
    with pytest.raises(DataError, match=r"1 new interactions repeat .* keep: last would change; add --resplit"):
        add(data, out)
    assert digests(out) == before
    manifest = add(data, out, resplit=True).manifest
    assert manifest.interactions == 9  # the purchase of i0 is gone, the dislike stands for it
    assert sum(split.negatives for split in manifest.splits.values()) == 3


@pytest.mark.parametrize(
    ("header", "cells", "weight"),
    [
        ("event_type", ["view", "cart", "purchase"], {"view": 0.2, "cart": 1.0, "purchase": 3.0}),
        ("behavior", ["pv", "fav", "cart", "buy"], {"pv": 0.2, "fav": 1.0, "cart": 1.0, "buy": 3.0}),
        ("Event", ["view", "addtocart", "transaction"], {"view": 0.2, "addtocart": 1.0, "transaction": 3.0}),
        (
            "action",
            ["Not interested", "skip", "like", "hum"],
            {"Not interested": -1, "skip": -0.2, "like": 1, "hum": 1},
        ),
        ("event", ["concert", "lecture"], None),  # what the items are, not what was done
        ("event_type", ["view", "click"], None),  # all count the same
        ("event_type", ["hide", "skip"], None),  # nothing could be learned
        ("event", [f"view {n}" for n in "abcdefghijklmnopqrstuvwxyz"], None),
    ],
)
def test_conventional_event_types_are_inferred_with_their_weights(
    tmp_path: Path, header: str, cells: list[str], weight: dict[str, float] | None
) -> None:
    rows = "".join(f"u,i,{at},{cell}\n" for at, cell in enumerate(cells))
    (tmp_path / "events.csv").write_text(f"visitorid,itemid,timestamp,{header}\n{rows}")
    (tmp_path / "items.csv").write_text("item_id,title\ni,A film\n")
    spec = infer_spec(tmp_path)
    inferred = spec.interactions.weight
    assert (inferred and (inferred.column, inferred.values)) == (weight and (header, weight))
    (tmp_path / "dataset.yaml").write_text(spec_to_yaml(spec))
    assert load_spec(tmp_path, None) == spec


@pytest.mark.parametrize(
    ("cells", "found"), [(["0.5", "-1", "2"], True), (["1", "1", "1"], False), (["0.5", "heavy", "2"], False)]
)
def test_a_column_named_weight_is_the_weight_where_its_numbers_differ(
    tmp_path: Path, cells: list[str], found: bool
) -> None:
    rows = "".join(f"u,i,{at},{cell},{at + 1}\n" for at, cell in enumerate(cells))
    (tmp_path / "events.csv").write_text(f"user_id,item_id,timestamp,weight,rating\n{rows}")
    (tmp_path / "items.csv").write_text("item_id,title\ni,A film\n")
    events = infer_spec(tmp_path).interactions
    # Labels stay; the event value is the weight in place of the rating.
    assert (events.value_column, set(events.labels)) == ("weight" if found else "rating", {"like", "rating"})
    assert (events.weight is not None) == found
