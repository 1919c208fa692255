"""Lists that a cell holds as text are the lists that another format holds as such."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_folder import examples
from small_folder import run as build
from table_files import WRITERS

from pipelines.webapp.item_rows import read_rows
from tfrecs.spec.dataset_yaml import load_spec
from tfrecs.spec.infer import infer_spec
from tfrecs.tables.lists import list_in, read_lists


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("['a', 'b c']", ["a", "b c"]),
        ('["a", "b c"]', ["a", "b c"]),
        (" [\"it's\", 'x'] ", ["it's", "x"]),
        ("['O\\'Brien', 'a, b', '[x]']", ["O'Brien", "a, b", "[x]"]),
        ("('a', 'b')", ["a", "b"]),
        ("('a',)", ["a"]),
        ("{'b', 'a', 'c'}", ["b", "a", "c"]),  # In the order of the text, which is the same in every process.
        ("['a' 'b']", ["a", "b"]),
        ("['a' 'b'\n 'c d']", ["a", "b", "c d"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("[np.str_('a'), np.str_('b')]", ["a", "b"]),
        ("frozenset({'a'})", ["a"]),
        ("[u'a', b'b']", ["a", b"b"]),
        ("['a', nan, None]", ["a", None, None]),
        ('["a", null]', ["a", None]),
        ("['\\d']", ["\\d"]),
        ("[]", []),
        ("set()", []),
        ("[1, 2.5]", [1, 2.5]),
        ('[{"id": 1, "name": "a"}]', [{"id": 1, "name": "a"}]),
        ("{'id': 1, 'name': 'a'}", [{"id": 1, "name": "a"}]),
        # None is a list.
        ("[a, b]", None),
        ("['a'", None),
        ("['a' 'b', 'c']", None),  # Python would make one word of the first two.
        ("('a')", None),
        ("(500) Days of Summer", None),
        ("[Live]", None),
        ("a|b", None),
    ],
)
def test_a_list_is_read_from_text_or_is_none(text: str, values: list[Any] | None) -> None:
    assert list_in(text) == values


def test_cells_are_read_by_one_rule_that_is_told_once() -> None:
    notes: list[str] = []
    cells = ["['a', 'b']", "x|y", None, '[{"id": 1, "Name": "n"}]', [["deep", "er"], ["x"]], "[a, b]", "[2012]"]
    assert read_lists(cells, notes.append, numbers=True) == [
        ["a", "b"], "x|y", None, ["n"], [["deep", "er"], ["x"]], "[a, b]", [2012],
    ]  # fmt: skip
    assert notes == [
        "3 cells are lists written as text (such as \"['a', 'b']\"); read as lists",
        "1 cells hold records; of each its 'Name' is taken",
        "1 cells look like lists but cannot be read as such ('[a, b]'); taken as text",
    ]
    notes.clear()
    assert read_lists(["a", ["b"], None, 7], notes.append, numbers=True) == ["a", ["b"], None, 7]
    assert notes == []


def test_a_list_that_is_nested_without_end_stops_nothing() -> None:
    deep = "[" * 9000 + "]" * 9000  # Newer versions of Python read it, older ones do not.
    assert read_lists([deep, "['a']"], lambda line: None, numbers=True) in ([[], ["a"]], [deep, ["a"]])


def test_a_text_is_a_list_only_if_it_lists_strings() -> None:
    notes: list[str] = []
    cells = ["[2012]", "['a', 'b']", "[REC]", '["quoted" start] of a text', '[{"a": 1, "b": 2}]', "[]", "['open]"]
    assert read_lists(cells, notes.append, numbers=False) == [
        "[2012]", ["a", "b"], "[REC]", cells[3], cells[4], [], "['open]",
    ]  # fmt: skip
    assert [note.split(" cells ")[0] for note in notes] == ["2", "1"]


@pytest.mark.parametrize(
    ("records", "names"),
    [
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], ["a", "b"]),
        ([{"title": "t", "id": "x"}], ["t"]),
        ([{"id": 1, "genre_name": "g"}], ["g"]),
        ([{"count": 3, "name": "to-read"}, {"name": None}], ["to-read"]),
        ({"id": 1, "name": "One"}, ["One"]),
        ([{"author_id": "1", "role": ""}], [{"author_id": "1", "role": ""}]),  # Refused by its kind, with the keys.
    ],
)
def test_of_a_record_its_name_is_taken(records: Any, names: list[Any]) -> None:
    for cell in (
        records,
        str(records),
        json.dumps(records),
        np.array(records, object) if isinstance(records, list) else records,
    ):
        assert read_lists([cell], lambda line: None, numbers=True) == [names]


SPEC = """
name: lists
items: {file: items.FORMAT, id: item_id, features: {text: {kind: text, columns: [title, genres]}, one: {kind: text, column: genres},
  genres: {kind: categories, column: genres}, both: {kind: categories, columns: [genres, more]}}}
interactions: {file: events.csv, user: user_id, item: item_id, time: time}
"""
CELLS: dict[str, Callable[[list[str]], Any]] = {
    "python": str,
    "json": json.dumps,
    "tuple": lambda genres: str(tuple(genres)),
    "numpy": lambda genres: str(np.array(genres)),
    "records": lambda genres: json.dumps([{"id": 1, "name": genre} for genre in genres]),
    "python records": lambda genres: str([{"id": 1, "name": genre} for genre in genres]),
}


def folder(path: Path, kind: str, cell: Callable[[list[str]], Any]) -> Path:
    path.mkdir()
    genres = [["drama", "film noir"], ["comedy, light"], ["noir", "drama", "it's"], []]
    rows = [{"item_id": n, "title": f"Film {n}", "genres": cell(genres[n % 4]), "more": cell(["x"])} for n in range(8)]
    WRITERS[kind](pd.DataFrame(rows), path / f"items.{kind}")
    events = "".join(f"u{n % 4},{n % 8},{1_513_000_000 + n}\n" for n in range(40))
    (path / "events.csv").write_text(f"user_id,item_id,time\n{events}")
    (path / "dataset.yaml").write_text(SPEC.replace("FORMAT", kind))
    return path


def test_records_are_the_same_whatever_form_and_format_lists_are_in(tmp_path: Path) -> None:
    expected = folder(tmp_path / "lists", "jsonl", list)
    manifest = build(expected, tmp_path / "out")
    assert manifest.notes == ()
    records = examples(tmp_path / "out", manifest.item_shards)
    assert records[2]["items/genres"] == [b"noir", b"drama", b"it's"]
    assert records[2]["items/both"] == [b"noir", b"drama", b"it's", b"x"]
    assert records[2]["items/text"] == [b"Film 2. noir, drama, it's"]
    texts = {item: row.text for item, row in read_rows(expected, load_spec(expected, None)).items()}
    forms = [(name, kind, cell) for name, cell in CELLS.items() for kind in ("csv", "jsonl")]
    forms += [("lists", "parquet", list), ("records", "parquet", lambda genres: [{"id": 1, "name": g} for g in genres])]
    for name, kind, cell in forms:
        data = folder(tmp_path / f"{name} {kind}", kind, cell)
        same = build(data, tmp_path / "other")
        assert same.schema_ == manifest.schema_, (name, kind)
        assert examples(tmp_path / "other", same.item_shards) == records, (name, kind)
        assert same.rejected == {}
        assert {item: row.text for item, row in read_rows(data, load_spec(data, None)).items()} == texts, (name, kind)


@pytest.mark.parametrize("cell", [str, json.dumps, lambda genres: "|".join(genres)])
def test_a_column_of_lists_is_inferred_as_categories(tmp_path: Path, cell: Callable[[list[str]], Any]) -> None:
    data = folder(tmp_path / "data", "csv", cell)
    (data / "dataset.yaml").unlink()
    genres = infer_spec(data).items
    assert genres is not None
    assert (genres.features["genres"].kind, genres.features["genres"].column) == ("categories", "genres")


def test_the_separator_is_that_of_most_cells_and_not_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text('item_id,genres\n1,Bars\n2,"Food, Pizza"\n3,"Bars, Food"\n4,a|b\n')
    (tmp_path / "events.csv").write_text("user_id,item_id\nu,1\n")
    items = infer_spec(tmp_path).items
    assert items is not None
    assert items.features["genres"].options == {"separator": ","}
