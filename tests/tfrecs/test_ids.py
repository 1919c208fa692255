"""Ids that differ in form only are one id in every format of table, but never two ids of the catalogue."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_folder import run as build
from table_files import WRITERS

from tfrecs.reading.stored_records import stored_events, stored_item_ids
from tfrecs.rejects import Rejects
from tfrecs.tables.ids import IdColumn, KnownIds, own_ids
from tfrecs.tables.table import Table, as_ids, read_table

NFC, NFD = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))


def table(values: Sequence[Any]) -> Table:
    texts = all(isinstance(value, str) for value in values)
    column = pd.Series(values, dtype=pd.StringDtype("pyarrow") if texts else object)
    files = np.full(len(values), "t.csv", object)
    return Table("t.csv", pd.DataFrame({"id": column}), files, np.arange(2, len(values) + 2))


def referred(
    values: Sequence[Any], known: Sequence[str], rejects: Rejects | None = None, *, others: bool = True
) -> list[str]:
    """The ids that refer to those of another table; without `others` none but the known ones, or as they stand."""
    column, ids = IdColumn("id"), KnownIds(known)
    codes = [code for value in values for code in column.codes(table([value])).tolist()]  # In parts of a row each.
    names = ids.one_form(column.texts)
    if not others:
        found = {text: ids.find(text) for text in column.texts}
        names = {text: known[at] for text, at in found.items() if at >= 0}
    column.note("t.csv", Rejects() if rejects is None else rejects, names)
    return [names.get(column.texts[code], column.texts[code]) for code in codes]


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize(
    ("catalogue", "given", "taken"),
    [
        (["12", "7"], ["12.0", "7", "12.00", "12."], ["12", "7", "12", "12"]),
        (["12", "7"], ["012", "0000007"], ["12", "7"]),
        (["0108775015", "0208775015"], ["108775015", "208775015.0", "0108775015"], ["0108775015", "0208775015", "0108775015"]),
        ([NFC, "x"], [NFD, "x"], [NFC, "x"]),
        ([NFD, "x"], [NFC, "x"], [NFD, "x"]),
        (["12"], [" 12", "12\t", "\u00a012.0 "], ["12", "12", "12"]),
        (["7"], [7, 7.0, np.int64(7), np.float32(7), Decimal("7.00"), "7"], ["7"] * 6),
        (["7.5"], [Decimal("7.50"), 7.5], ["7.5", "7.5"]),
        (["a1", "12.0"], ["12", "a1"], ["12.0", "a1"]),
        # Different in more than form, or unknown: as they stand.
        (["12"], ["x12", "1200", "12.5", "12.0.0", "12e0", "-12"], ["x12", "1200", "12.5", "12.0.0", "12e0", "-12"]),
        (["A12"], ["a12", "A012"], ["a12", "A012"]),
        # Both forms are in the catalogue: told apart.
        (["007", "7", "8"], ["7", "007", "08", "8.0"], ["7", "007", "08", "8"]),
        (["7", "7.0", "8"], ["7", "7.0", "8.0", "08"], ["7", "7.0", "8.0", "8"]),
        ([NFC, NFD], [NFD, NFC], [NFD, NFC]),
        (["0", "00"], ["0", "00", "000"], ["0", "00", "000"]),
    ],
)  # fmt: skip
def test_an_id_is_taken_for_that_of_the_catalogue_from_which_it_differs_in_form_only(
    catalogue: list[str], given: list[Any], taken: list[str], others: bool
) -> None:
    assert referred(given, catalogue, others=others) == taken


def test_what_is_taken_for_another_form_is_told_once_with_count_and_example() -> None:
    rejects = Rejects()
    referred(["12.0", "7", " 7", "12.0"], ["12", "7"], rejects)
    assert rejects.notes == [
        "t.csv: 1 ids in id have blanks around them (such as ' 7'); read without",
        "t.csv: 2 ids in id are taken for the same ids in another form (such as '12.0' for '12')",
    ]
    rejects = Rejects()
    referred([NFD], [NFC], rejects)
    assert rejects.notes[0].endswith("(such as 'Cafe\\u0301' for 'Caf\\xe9')")
    rejects = Rejects()
    referred(["12", "7"], ["12", "7"], rejects)
    assert rejects.notes == []


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["12", "12.0", "u1"], ["12", "12", "u1"]),
        (["12.0", "7.0"], ["12", "7"]),
        (["12.0", "u1"], ["12.0", "u1"]),  # Nothing says that the point does not belong to the id.
        ([NFD, NFC, "x"], [NFC, NFC, "x"]),
        (["007", "7", "07.0"], ["007", "7", "07"]),
    ],
)
def test_users_without_a_table_get_one_form_among_themselves(given: list[str], taken: list[str]) -> None:
    assert referred(given, ()) == taken


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["12.0", "7.0"], ["12", "7"]),
        (["12.0", "7"], ["12", "7"]),
        (["7", "7.0"], ["7", "7.0"]),
        (["1.0", "1.1", "2.0"], ["1.0", "1.1", "2.0"]),  # Versions, say.
        (["007", "7"], ["007", "7"]),
        ([NFC, NFD], [NFC, NFD]),
        (["007.0"], ["007"]),
    ],
)
def test_a_catalogue_keeps_its_ids_but_for_the_point_of_a_column_of_whole_numbers(
    given: list[str], kept: list[str]
) -> None:
    assert own_ids(table(given), "id", Rejects()).tolist() == kept


def test_new_rows_of_a_catalogue_are_known_ones_in_another_form_but_never_merged_among_themselves() -> None:
    assert own_ids(table(["12.0", "9"]), "id", Rejects(), ["12", "7"]).tolist() == ["12", "9"]
    assert own_ids(table(["007", "7", "9"]), "id", Rejects(), ["7"]).tolist() == ["007", "7", "9"]
    assert own_ids(table(["07", "9"]), "id", Rejects(), ["7", "9"]).tolist() == ["7", "9"]


def test_ids_in_bytes_that_are_no_text_stay_different() -> None:
    assert as_ids(pd.Series([b"\xff\x00", b"\xfe\x00", b"ok"], dtype=object)).tolist() == ["ff00", "fe00", "ok"]


SPEC = """
name: forms
items: {{file: items.{items}, id: item_id, features: {{text: {{kind: text, column: title}}}}}}
interactions: {{file: events.{events}, user: user_id, item: item_id, time: time}}
users: {{file: users.csv, id: user_id, features: {{age: {{kind: categories, column: age}}}}}}
"""


@pytest.mark.parametrize("events_format", WRITERS)
@pytest.mark.parametrize("items_format", WRITERS)
@pytest.mark.parametrize("form", [int, float, str, "{:03d}".format, "{}.0".format])
def test_records_are_the_same_whatever_the_format_and_the_form_of_ids(
    tmp_path: Path, items_format: str, events_format: str, form: Any
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset.yaml").write_text(SPEC.format(items=items_format, events=events_format))
    items = pd.DataFrame({"item_id": range(10, 20), "title": [f"film {n}" for n in range(10)]})
    WRITERS[items_format](items, data / f"items.{items_format}")
    rows = [
        (form(user), form(10 + (user + 3 * n) % 10), 1_513_000_000 + 10 * n + user)
        for user in range(4)
        for n in range(8)
    ]
    WRITERS[events_format](pd.DataFrame(rows, columns=["user_id", "item_id", "time"]), data / f"events.{events_format}")
    (data / "users.csv").write_text("user_id,age\n0,x\n1,y\n2,x\n3,y\n")
    manifest = build(data, tmp_path / "out")
    assert (manifest.items, manifest.users, manifest.interactions, manifest.rejected) == (10, 4, 32, {})
    events = stored_events(tmp_path / "out", manifest)
    assert set(events["user"]) == {"0", "1", "2", "3"}
    assert set(events["item"]) == set(stored_item_ids(tmp_path / "out", manifest)) == {str(n) for n in range(10, 20)}


def test_decimals_of_parquet_are_ids_as_their_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"id": [Decimal("100.00"), Decimal("7.00"), None]}).to_parquet(tmp_path / "t.parquet")
    frame = read_table(tmp_path, "t.parquet", ["id"], Rejects(), None).frame
    assert as_ids(frame["id"]).fillna("-").tolist() == ["100", "7", "-"]
