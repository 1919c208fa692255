"""The item table as the app shows it, and what the app takes from a data set's spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config.running import AppConfig
from pipelines.webapp.item_rows import media_features, read_rows
from pipelines.webapp.wiring import log_notes, log_spec, make_columns, make_scale
from serving.app.language.query_parser import QueryVocabulary, parse_query
from serving.app.store.base import Event
from tfrecs.errors import DataError
from tfrecs.spec.dataset_yaml import DatasetSpec, load_spec

SPEC: dict[str, Any] = {
    "name": "shop",
    "items": {
        "file": "items.jsonl",
        "id": "item_id",
        "title": "title",
        "features": {
            "text": {"kind": "text", "columns": ["title", "tags", "plot"]},
            "image": {"kind": "image", "column": "picture"},
            "tags": {"kind": "categories", "column": "tags"},
        },
    },
    "interactions": {
        "file": "log.csv",
        "user": "who",
        "item": "what",
        "time": "at",
        "labels": {"like": {"column": "stars", "at_least": 4}, "stars": {"column": "stars", "range": [1, 5]}},
        "context": ["hour", "device"],
    },
}


def spec(**interactions: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({**SPEC, "interactions": {**SPEC["interactions"], **interactions}})


def test_rows_are_what_a_build_would_read(tmp_path: Path) -> None:
    rows = [
        {"item_id": 7, "title": "One (1980)", "tags": ["a", None, "b"], "plot": "x", "picture": "p/7.png", "minutes": 90, "ml_id": 3},
        {"item_id": "8", "title": "Two (1999)", "tags": None, "plot": None, "picture": None, "minutes": 91, "ml_id": 4},
        {"item_id": 8.0, "title": "again", "tags": [], "plot": "", "picture": "", "minutes": 95, "ml_id": 5},
        {"item_id": 9, "title": "Three", "tags": ["a"], "plot": "y", "picture": "p/9.png", "minutes": None, "ml_id": 6},
    ]  # fmt: skip
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_rows(tmp_path, spec())
    assert list(found) == ["7", "8", "9"]
    assert (found["7"].title, found["7"].text) == ("One (1980)", "One (1980). a, b. x")
    assert [dict(found[item].numbers) for item in found] == [
        {"minutes": 90.0, "year": 1980.0}, {"minutes": 91.0, "year": 1999.0}, {}
    ]  # fmt: skip
    assert [dict(found[item].media) for item in found] == [{"image": "p/7.png"}, {}, {"image": "p/9.png"}]
    assert media_features(spec()) == {"image": "image"}
    assert list(read_rows(tmp_path, spec(), ["007", "8"])) == ["007", "8", "9"]  # As the model knows them.
    rows[0]["plot"] = {"not": "a text"}  # a build lists it as rejected and goes on
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_rows(tmp_path, spec())["7"].text == ""
    with pytest.raises(DataError, match="no such folder"):
        read_rows(tmp_path / "nowhere", spec())


def test_events_are_valued_in_the_range_of_the_data_set() -> None:
    settings = AppConfig()
    scale = make_scale(settings, spec())
    assert (scale.low, scale.high, dict(scale.event_values)) == (1.0, 5.0, {"like": 5.0, "dislike": 1.0})
    around = make_scale(settings, spec(labels={"like": {"column": "stars", "at_least": 4}}))
    assert (around.low, around.high, dict(around.event_values)) == (3.0, 4.0, {"like": 4.0, "dislike": 3.0})
    none = make_scale(settings, spec(labels={}))
    assert (none.low, none.high, dict(none.event_values)) == (None, None, {})


def test_the_log_has_the_columns_that_the_spec_names_and_its_own_spec() -> None:
    columns = make_columns(AppConfig(), spec(), make_scale(AppConfig(), spec()))
    row = columns.row("ann", Event("e", "like", 12.7, "7", context={"device": "tv", "other": "x"}))
    assert row == {
        "who": "ann",
        "what": "7",
        "at": 12,
        "stars": 5.0,
        "device": "tv",
        "_event": "like",
        "_id": "e",
        "_list": "",
    }
    said = yaml.safe_load(log_spec(spec()))
    assert said["interactions"]["file"] == "interactions-*.jsonl"
    assert DatasetSpec.model_validate(said).items == spec().items


WEIGHT = {"column": "event", "values": {"view": 0.2, "like": 1, "dislike": -1, "buy": 3}}


def test_kinds_of_events_have_the_weights_of_the_event_types_of_their_name() -> None:
    weighted = spec(weight=WEIGHT)
    scale = make_scale(AppConfig(), weighted)
    assert (scale.low, scale.high, scale.weighted) == (1.0, 5.0, True)
    assert dict(scale.event_values) == {"view": 0.2, "like": 1, "dislike": -1}
    assert scale.dislike_weight == -1
    columns = make_columns(AppConfig(), weighted, scale)
    # A click has no weight, so a build would reject it; a rating neither.
    assert columns.kinds == {"like", "dislike"}
    disliked = columns.row("ann", Event("e", "dislike", 12.7, "7"))
    assert (disliked["event"], disliked["stars"]) == ("dislike", 1.0)
    assert DatasetSpec.model_validate(
        yaml.safe_load(log_spec(weighted))
    ).interactions == weighted.interactions.model_copy(update={"file": "interactions-*.jsonl"})
    assert log_notes(AppConfig(), weighted, columns) == [
        "Not logged for later training: click, rating; interactions.weight of dataset.yaml gives them no weight."
    ]


def test_a_column_of_weights_gets_the_strengths_and_event_types_can_be_a_label() -> None:
    bought = {"bought": {"column": "event", "values": {"like": 1, "dislike": 0}, "at_least": 1}}
    weighted = spec(weight="w", labels=bought)
    columns = make_columns(AppConfig(), weighted, make_scale(AppConfig(), weighted))
    row = columns.row("ann", Event("e", "dislike", 12.7, "7"))
    assert (row["w"], row["event"]) == (-1.0, "dislike")
    assert columns.kinds == {"click", "like", "dislike"}


def test_a_logged_dislike_that_would_be_a_positive_is_told() -> None:
    plain = spec()
    columns = make_columns(AppConfig(), plain, make_scale(AppConfig(), plain))
    (note,) = log_notes(AppConfig(), plain, columns)
    assert "A build reads a logged dislike as a positive" in note
    judged = spec(positive={"column": "stars", "at_least": 4})
    assert log_notes(AppConfig(), judged, make_columns(AppConfig(), judged, make_scale(AppConfig(), judged))) == []


def test_the_log_has_unix_seconds_whatever_the_table_has() -> None:
    events = {**spec().model_dump(exclude_unset=True)["interactions"], "time_unit": "ms", "time_zone": "Europe/Berlin"}
    in_milliseconds = DatasetSpec.model_validate({**spec().model_dump(exclude_unset=True), "interactions": events})
    own = DatasetSpec.model_validate(yaml.safe_load(log_spec(in_milliseconds))).interactions
    assert (own.time, own.time_unit, own.time_zone) == ("at", "s", None)


def test_questions_in_the_world_of_films(shared_data: Path) -> None:
    examples = Path(__file__).resolve().parents[2] / "examples"
    films = load_spec(shared_data / "ml100k", examples / "ml100k.yaml")
    rows = read_rows(shared_data / "ml100k", films)
    assert len(rows) == 1682
    assert rows["1"].numbers["year"] == 1995
    assert {name for row in rows.values() for name in row.numbers} == {"year"}
    table = [json.loads(line) for line in (shared_data / "ml100k" / "items.jsonl").read_text().splitlines()]
    genres = {genre for row in table for genre in row["genres"] or () if genre}
    vocabulary = QueryVocabulary(genres, {"year"}, set())
    turns = ["quiet films for a rainy evening", "but older", "no horror", "a romance or a drama"]
    parsed = parse_query(turns, vocabulary)
    assert parsed.text == "quiet films for a rainy evening a romance or a drama"
    assert [one.key for one in parsed.conditions] == ["year<list", "not:Horror", "is:Romance|Drama"]
