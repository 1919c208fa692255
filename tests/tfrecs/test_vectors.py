"""Vectors that a cell holds as text, and vectors that are not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_folder import examples, rejected
from small_folder import run as build
from table_files import WRITERS

from tfrecs.errors import DataError, TooManyRejectsError
from tfrecs.spec.infer import infer_spec
from tfrecs.tables.vectors import vector_in

NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("[0.1, -2, 3e-1]", [0.1, -2, 0.3]),
        ("(0.1, 2)", [0.1, 2]),
        ("(0.1,)", [0.1]),
        ("[0.1 2.  3.5\n 4]", [0.1, 2, 3.5, 4]),
        ("0.1 0.2\t0.3", [0.1, 0.2, 0.3]),
        ("0.1,0.2 , 0.3", [0.1, 0.2, 0.3]),
        ("0.1;0.2; 0.3", [0.1, 0.2, 0.3]),
        ("0,1;0,2;-3", [0.1, 0.2, -3]),
        ("0.1|0.2", [0.1, 0.2]),
        ("array([0.1, 0.2], dtype=float32)", [0.1, 0.2]),
        ("np.array([0.1])", [0.1]),
        ("tensor([0.1, 0.2], device='cuda:0')", [0.1, 0.2]),
        ("[np.float32(0.1), np.float32(2.0)]", [0.1, 2]),
        ("[0.1, None, NaN, null]", [0.1, NAN, NAN, NAN]),
        ("nan", [NAN]),
        ("None", [NAN]),
        ("[inf, 1]", [np.inf, 1]),
        ("[]", []),
    ],
)
def test_a_vector_is_read_from_text(text: str, numbers: list[float]) -> None:
    np.testing.assert_array_equal(vector_in(text), numbers)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("abc", r"'abc' is not a list of numbers \('abc'\)"),
        ("[0.1, x]", r"\('x'\)"),
        ("[0.1, 0.2", "list inside"),
        ("[[0.1, 0.2]]", "list inside"),
        ("[0.1 0.2 ... 0.9]", "cut short"),
        ("0,1 0,2", "both by commas and by blanks"),
        ("0.1,,0.2", "not a list of numbers"),
    ],
)
def test_what_is_no_vector_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        vector_in(text)


SPEC = """
name: vectors
items: {file: items.FORMAT, id: item_id, features: {vec: SOURCE}}
interactions: {file: events.csv, user: user_id, item: item_id, time: time}
"""
WIDTH = 3
VECTORS = np.random.default_rng(0).normal(size=(12, WIDTH)).astype(np.float32).round(3)


def folder(path: Path, kind: str, cells: list[Any], source: str = "{kind: vector, column: vec}") -> Path:
    path.mkdir(exist_ok=True)
    rows = [{"item_id": n, "vec": cell} for n, cell in enumerate(cells)]
    WRITERS[kind](pd.DataFrame(rows), path / f"items.{kind}")
    events = "".join(f"u{n % 4},{n % len(cells)},{1_000_000_000 + n}\n" for n in range(40))
    (path / "events.csv").write_text(f"user_id,item_id,time\n{events}")
    (path / "dataset.yaml").write_text(SPEC.replace("FORMAT", kind).replace("SOURCE", source))
    return path


CELLS: dict[str, Callable[[np.ndarray], Any]] = {
    "json": lambda row: json.dumps(row.tolist()),
    "numpy": str,
    "blanks": lambda row: " ".join(map(str, row.tolist())),
    "commas": lambda row: ",".join(map(str, row.tolist())),
    "semicolons": lambda row: ";".join(str(number).replace(".", ",") for number in row.tolist()),
}


def test_records_are_the_same_whatever_form_and_format_vectors_are_in(tmp_path: Path) -> None:
    lists = VECTORS.astype(float).round(3).tolist()
    manifest = build(folder(tmp_path / "lists", "jsonl", lists), tmp_path / "out")
    assert manifest.notes == ()
    records = examples(tmp_path / "out", manifest.item_shards)
    np.testing.assert_array_equal([record["items/vec"] for record in records], VECTORS)
    forms: list[tuple[str, str, list[Any]]] = [
        (name, kind, [cell(np.array(row)) for row in lists])
        for name, cell in CELLS.items()
        for kind in ("csv", "jsonl")
    ]
    for name, kind, cells in [*forms, ("lists", "parquet", lists)]:
        same = build(folder(tmp_path / f"{name} {kind}", kind, cells), tmp_path / "other")
        assert same.schema_ == manifest.schema_, (name, kind)
        assert examples(tmp_path / "other", same.item_shards) == records, (name, kind)
        assert len(same.notes) == (kind != "parquet")


def test_nothing_but_nan_is_missing_in_every_format_and_is_told(tmp_path: Path) -> None:
    given: list[Any] = [row.tolist() for row in VECTORS]
    given[3:6] = [[NAN] * WIDTH, [None] * WIDTH, None]
    texts = [None if row is None else str(row) for row in given]
    matrix = VECTORS.copy()
    matrix[3:6] = NAN
    for kind, cells, source in (
        ("jsonl", given, "{kind: vector, column: vec}"),
        ("parquet", given, "{kind: vector, column: vec}"),
        ("csv", texts, "{kind: vector, column: vec}"),
        ("csv", list(range(12)), "{kind: vector, file: vec.npy, row: vec}"),
    ):
        data = folder(tmp_path / "data", kind, cells, source)
        np.save(data / "vec.npy", matrix)
        manifest = build(data, tmp_path / "out", max_bad=0.0)
        assert (manifest.coverage, manifest.rejected) == ({"vec": 0.75}, {})
        assert manifest.schema_.items[0].params["mean"] == pytest.approx(
            np.delete(VECTORS, [3, 4, 5], 0).mean(0), rel=1e-5
        )
        count = 3 if source.endswith("row: vec}") else 2
        assert manifest.notes[-1].endswith(f": {count} vectors are empty, or NaN throughout; taken as missing")


def test_infinity_another_width_and_a_nan_among_numbers_are_rejected_with_the_reason(tmp_path: Path) -> None:
    cells = [str(row.tolist()) for row in VECTORS]
    cells[1:5] = ["[1, inf, 2]", "[1, 2]", "[1, nan, 2]", "high"]
    manifest = build(folder(tmp_path / "data", "csv", cells), tmp_path / "out", max_bad=0.5)
    assert manifest.rejected == {"vec: cannot be encoded": 4}
    assert [(entry["line"], entry["id"], entry["detail"]) for entry in rejected(tmp_path / "out")] == [
        (3, "1", "1 of 3 numbers are NaN or infinite, the first at position 1"),
        (4, "2", "vector of width 2 where the others have 3"),
        (5, "3", "1 of 3 numbers are NaN or infinite, the first at position 1"),
        (6, "4", "'high' is not a list of numbers ('high')"),
    ]


def test_a_column_without_one_vector_is_told_with_value_line_and_reason(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", "csv", [f"v{n}" for n in range(12)])
    with pytest.raises(TooManyRejectsError) as error:
        build(data, tmp_path / "out")
    assert "items.features.vec: vector: not one usable vector in the data" in str(error.value)
    assert "12 values rejected: vec: cannot be encoded ('v0' is not a list of numbers" in str(error.value)
    assert "first items.csv line 2 id '0'" in str(error.value)
    assert len((tmp_path / "out.rejected.jsonl").read_text().splitlines()) == 12
    data = folder(tmp_path / "data", "csv", [None] * 12)
    with pytest.raises(DataError, match=r"not one usable vector in the data \(all are missing\)"):
        build(data, tmp_path / "out")


@pytest.mark.parametrize("name", ["json", "numpy"])
def test_a_column_of_vectors_as_text_is_inferred(tmp_path: Path, name: str) -> None:
    data = folder(tmp_path / "data", "csv", [CELLS[name](row) for row in VECTORS])
    (data / "dataset.yaml").unlink()
    items = infer_spec(data).items
    assert items is not None
    assert items.features["vec"].kind == "vector"
