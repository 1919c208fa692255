"""Tables as other programs write them say the same as our own."""

from __future__ import annotations

import gzip
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from tfrecs.errors import DataError, SpecError
from tfrecs.rejects import Rejects
from tfrecs.spec.infer import infer_spec
from tfrecs.spec.models import InteractionsSpec
from tfrecs.tables.cells import clean
from tfrecs.tables.table import read_table

ROWS = [["p1", "Café; crème", "a|b"], ["p2", "two\nlines, “quoted”", ""], ["p3", "x", "b"]]
FRAME = pd.DataFrame(ROWS, columns=["sku", "nom", "cat"])
UTF16 = FRAME.to_csv(index=False).encode("utf-16")


def cells(folder: Path, name: str, encoding: str | None = None) -> list[list[str]]:
    rejects = Rejects()
    table = read_table(folder, name, ["sku", "nom", "cat"], rejects, encoding)
    assert len(rejects) == 0
    return table.frame[["sku", "nom", "cat"]].fillna("").to_numpy().tolist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolons.csv", FRAME.to_csv(index=False, sep=";").encode()),
        ("tabs.csv", FRAME.to_csv(index=False, sep="\t").encode()),
        ("bars.csv", FRAME.to_csv(index=False, sep="|").encode()),
        ("commas.tsv", FRAME.to_csv(index=False).encode()),
        ("every field in quotes.csv", FRAME.to_csv(index=False, sep=";", quoting=1).encode()),
        ("returns.csv", FRAME.to_csv(index=False, lineterminator="\r\n").encode("utf-8-sig")),
        ("utf-16.csv", UTF16),
        ("gzip without saying so.csv", gzip.compress(UTF16)),
        ("plain but for its name.csv.gz", FRAME.to_csv(index=False).encode()),
        ("blanks.csv", FRAME.set_axis([" sku", "nom ", " cat "], axis=1).to_csv(index=False).encode()),
        ("typed.csv", FRAME.set_axis(["sku:token", "nom:token_seq", "cat:token"], axis=1).to_csv(index=False).encode()),
        ("half typed.item", b"sku:token\tnom\tcat\np1\t" + "Café; crème".encode() + b"\ta|b\n"),
    ],
)
def test_a_table_says_the_same_however_it_was_saved(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert cells(tmp_path, name) == ROWS[: 1 if name.startswith("half") else None]


def test_the_usual_separator_is_kept_where_the_header_has_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sku,nom;a;b;c,cat\np1,x,y\n")
    assert read_table(tmp_path, "t.csv", (), Rejects(), None).frame.columns.tolist() == ["sku", "nom;a;b;c", "cat"]


def test_an_encoding_that_the_spec_names_is_read_and_its_holes_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(FRAME.to_csv(index=False).encode("cp1252"))
    assert cells(tmp_path, "t.csv", "cp1252") == ROWS
    (tmp_path / "t.csv").write_bytes(b"sku\n\xe9t\xe9\n\x81\n")  # cp1252 has no character 0x81.
    rejects = Rejects()
    assert read_table(tmp_path, "t.csv", (), rejects, "cp1252").frame["sku"].tolist() == ["été"]
    assert [reject.line for reject in rejects] == [3]


def test_what_is_not_in_its_encoding_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(UTF16[:-1])
    with pytest.raises(DataError, match=r"not utf-16.* save it as UTF-8$"):
        read_table(tmp_path, "t.csv", (), Rejects(), None)
    (tmp_path / "t.csv").write_bytes(b"sku,nom\n1,\xe9\n")
    with pytest.raises(DataError, match=r"line 2: line is not UTF-8 \(name its encoding in the spec\)"):
        read_table(tmp_path, "t.csv", (), Rejects(), None)
    for unknown in ("latin-99", "base64", "\0"):
        with pytest.raises(ValueError, match="unknown encoding"):
            InteractionsSpec(file="t.csv", user="u", item="i", encoding=unknown)


def test_a_column_that_one_of_several_files_lacks_is_missed_in_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sku,nom\n1,x\n")
    (tmp_path / "b.csv").write_text("sku\n2\n")
    with pytest.raises(DataError, match=r"^b\.csv: no column 'nom'; there are sku"):
        read_table(tmp_path, "*.csv", ["sku", "nom"], Rejects(), None)
    (tmp_path / "b.csv").write_text("")  # A day on which nothing happened.
    (tmp_path / "c.csv").mkdir()
    assert len(read_table(tmp_path, "*.csv", ["sku", "nom"], Rejects(), None)) == 1


def test_the_index_of_a_parquet_file_is_a_column(tmp_path: Path) -> None:
    FRAME.set_index("sku").to_parquet(tmp_path / "t.parquet")
    assert cells(tmp_path, "t.parquet") == ROWS


def test_json_that_is_nested_without_end_is_a_malformed_line(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"sku": 1}\n' + "[" * 100_000 + "\n")
    rejects = Rejects()
    assert len(read_table(tmp_path, "t.jsonl", ["sku"], rejects, None)) == 1
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, "malformed line")]


def test_a_table_that_is_a_folder_or_leads_nowhere_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    (tmp_path / "u.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"'t\.csv' is a folder; tables there: none"):
        read_table(tmp_path, "t.csv", (), Rejects(), None)
    with pytest.raises(DataError, match=r"'u\.csv' is a link to nothing"):
        read_table(tmp_path, "u.csv", (), Rejects(), None)
    (tmp_path / "SKU.csv").write_text("SKU,T\n1,2\n")
    with pytest.raises(DataError, match="no column 'sku'; did you mean 'SKU'"):
        read_table(tmp_path, "SKU.csv", ["sku"], Rejects(), None)


def test_typed_headers_give_the_kinds_of_an_inferred_spec_in_any_table(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id:token;title:token_seq;tags:token_seq;price:float\n1;x;a b;2\n")
    (tmp_path / "ratings.tsv").write_text("user_id:token\titem_id:token\ttimestamp:float\n1\t1\t5\n")
    spec = infer_spec(tmp_path)
    assert (spec.interactions.user, spec.interactions.item, spec.interactions.time) == (
        "user_id", "item_id", "timestamp",
    )  # fmt: skip
    assert {name: feature.kind for name, feature in spec.items.features.items()} == {
        "text": "text", "tags": "categories", "price": "number",
    }  # fmt: skip
    (tmp_path / "ratings.tsv").unlink()
    with pytest.raises(SpecError, match="no table named interactions"):
        infer_spec(tmp_path)


@pytest.mark.parametrize(
    ("value", "text"), [(date(2020, 2, 1), "2020-02-01"), (Decimal("1.50"), "1.50"), ("é".encode(), "é")]
)
def test_what_parquet_holds_beside_strings_is_text_too(value: object, text: str) -> None:
    assert clean(value) == text
