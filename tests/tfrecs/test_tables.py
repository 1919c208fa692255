"""Tables go in as they are: ids stay ids, lines stay known, what is malformed is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsed_text import parsed

from tfrecs.errors import DataError, TooManyRejectsError
from tfrecs.rejects import Reject, Rejects
from tfrecs.tables.table import Table, as_ids, as_numbers, is_null, read_table


def read(folder: Path, name: str, content: bytes) -> tuple[Table, list[Reject]]:
    (folder / name).write_bytes(content)
    rejects = Rejects()
    return read_table(folder, name, (), rejects, None), list(rejects)


def cells(table: Table, column: str) -> list[str | None]:
    return [None if is_null(value) else value for value in table.frame[column]]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_delimited_ids_stay_as_written(tmp_path: Path, suffix: str, separator: str, compressed: bool) -> None:
    text = "id,title\n007,Ünï 漢字\n8,\n,NA\n".replace(",", separator).encode()
    table, rejects = read(
        tmp_path, f"t{suffix}{'.gz' if compressed else ''}", gzip.compress(text) if compressed else text
    )
    assert cells(table, "id") == ["007", "8", None]
    assert cells(table, "title") == ["Ünï 漢字", None, "NA"]
    assert table.lines.tolist() == [2, 3, 4]
    assert rejects == []


def test_integer_ids_beside_nulls_do_not_become_floats(tmp_path: Path) -> None:
    jsonl, _ = read(tmp_path, "t.jsonl", b'{"id": 7}\n{"id": null}\n{"id": 7.0}\n{"id": " 7 "}\n')
    assert as_ids(jsonl.frame["id"]).fillna("-").tolist() == ["7", "-", "7", "7"]
    pd.DataFrame({"id": pd.array([7, None], "Int64"), "wide": [7.0, None]}).to_parquet(tmp_path / "t.parquet")
    parquet = read_table(tmp_path, "t.parquet", (), Rejects(), None)
    assert as_ids(parquet.frame["id"]).fillna("-").tolist() == ["7", "-"]
    assert as_ids(parquet.frame["wide"]).fillna("-").tolist() == ["7", "-"]
    assert parquet.lines.tolist() == [1, 2]


def test_malformed_lines_are_rejected_by_line_and_cost_nothing_else(tmp_path: Path) -> None:
    content = b'id,text\n1,one\n2,two,too many\n3\n\n4,"two\nlines"\n5,\xff\n6,"never closed\n7,seven\n'
    table, rejects = read(tmp_path, "t.csv", content)
    assert cells(table, "id") == ["1", "4", "7"]
    assert cells(table, "text") == ["one", "two\nlines", "seven"]
    assert table.lines.tolist() == [2, 6, 10]
    assert [(reject.file, reject.line, reject.reason) for reject in rejects] == [
        ("t.csv", 3, "malformed line"),
        ("t.csv", 4, "malformed line"),
        ("t.csv", 8, "line is not UTF-8 (name its encoding in the spec)"),
        ("t.csv", 9, "malformed line"),
    ]


def test_malformed_json_lines_are_rejected_by_line(tmp_path: Path) -> None:
    table, rejects = read(tmp_path, "t.jsonl", b'{"id": 1}\n\n{"id": \n[2]\n{"id": 3}\n')
    assert list(table.frame["id"]) == [1, 3]
    assert table.lines.tolist() == [1, 5]
    assert [(reject.line, reject.reason) for reject in rejects] == [(3, "malformed line"), (4, "malformed line")]


field = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@settings(deadline=None)  # The first call pays for imports.
@given(st.lists(st.tuples(field, field), min_size=1, max_size=8), st.sampled_from(",\t"))
def test_whatever_a_csv_writer_writes_is_read_back(rows: list[tuple[str, str]], separator: str) -> None:
    rows = [(f"{number}{left}", right) for number, (left, right) in enumerate(rows)]  # No row reads as a blank line.
    written = pd.DataFrame(rows, columns=["a", "b"]).to_csv(index=False, sep=separator, lineterminator="\n", quoting=1)
    frame, lines, bad = parsed(written, separator)
    assert bad == []
    assert [tuple("" if is_blank(cell) else cell for cell in row) for row in frame.itertuples(index=False)] == rows
    assert lines[0] == 2


def is_blank(cell: object) -> bool:
    return cell is None or cell is pd.NA


plain = st.text(st.characters(codec="utf-8", exclude_characters='\0\r\n\t,"'), min_size=1, max_size=5)


@settings(deadline=None)
@given(st.lists(st.tuples(plain, plain), min_size=1, max_size=8))
def test_the_fast_and_the_careful_way_agree(rows: list[tuple[str, str]]) -> None:
    regular = "a,b\n" + "".join(f"{left},{right}\n" for left, right in rows)
    irregular = regular + "\n"  # An empty line at the end is enough for the careful way.
    fast, fast_lines, bad = parsed(regular, ",")
    careful, careful_lines, also_bad = parsed(irregular, ",")
    pd.testing.assert_frame_equal(fast, careful)
    assert fast_lines.tolist() == careful_lines.tolist()
    assert not bad + also_bad


def test_several_files_by_pattern_keep_their_own_lines(tmp_path: Path) -> None:
    for name, rows in (("b", "3\t1"), ("a", "1\t1\n2\t1")):
        (tmp_path / f"part-{name}.tsv").write_text(f"user\titem\n{rows}\n")
    table = read_table(tmp_path, "part-*.tsv", ["user"], Rejects(), None)
    assert cells(table, "user") == ["1", "2", "3"]
    assert table.files.tolist() == ["part-a.tsv", "part-a.tsv", "part-b.tsv"]
    assert table.lines.tolist() == [2, 3, 2]


def test_a_pattern_need_not_end_in_a_suffix_but_its_files_must(tmp_path: Path) -> None:
    (tmp_path / "log-1.csv").write_text("user,item\n1,1\n")
    with gzip.open(tmp_path / "log-2.csv.gz", "wt") as file:
        file.write("user,item\n2,1\n")
    assert cells(read_table(tmp_path, "log-*.csv*", ["user"], Rejects(), None), "user") == ["1", "2"]
    (tmp_path / "log-notes.md").write_text("user,item\n")
    with pytest.raises(DataError, match=r"log-notes\.md: unknown kind of table"):
        read_table(tmp_path, "log-*", ["user"], Rejects(), None)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "t.csv: no rows to use; the table is empty"),
        ("t.csv", b"a,b\n", "t.csv: no rows to use; the table is empty"),
        ("t.csv", b"a,a\n1,2\n", "two columns are named 'a'"),
        ("t.csv", b"\xff,b\n1,2\n", "header line"),
        ("t.jsonl", b"nonsense\n", "line 1: malformed line"),
        ("t.parquet", b"PAR1 but not really", "not a parquet file"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-4], "cannot be read"),
        ("t.xlsx", b"", "unknown kind of table; there are .csv"),
    ],
)
def test_unusable_tables_are_one_line_errors(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, name, content)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_columns_are_named_with_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n1,x\n")
    with pytest.raises(DataError, match=r"no file 'item.csv'; tables there: items.csv"):
        read_table(tmp_path, "item.csv", (), Rejects(), None)
    with pytest.raises(
        DataError, match=r"items.csv: no column 'titel'; did you mean 'title'\? there are item_id, title"
    ):
        read_table(tmp_path, "items.csv", ["titel"], Rejects(), None)
    with pytest.raises(DataError, match="no file matches 'x-"):
        read_table(tmp_path, "x-*.csv", (), Rejects(), None)


def test_numbers_nulls_and_nonsense_are_told_apart() -> None:
    values = [" 1.5", "true", "nan", "", "four", "inf", "-2"]
    numbers, bad = as_numbers(pd.Series([*values, None], dtype=pd.StringDtype("pyarrow")))
    np.testing.assert_array_equal(numbers, [1.5, 1.0, np.nan, np.nan, np.nan, np.nan, -2.0, np.nan])
    assert bad.tolist() == [False, False, False, False, True, True, False, False]
    numbers, bad = as_numbers(pd.Series([3, None, "x", [1]], dtype=object))
    np.testing.assert_array_equal(numbers, [3.0, np.nan, np.nan, np.nan])
    assert bad.tolist() == [False, False, True, True]


def test_rejects_are_listed_counted_and_limited(tmp_path: Path) -> None:
    rejects = Rejects()
    rejects.seen("items.csv", 100)
    rejects.add(Reject("items.csv", "duplicate item id", line=7, id="ä"))
    rejects.enforce(0.01)
    rejects.add(Reject("items.csv", "image: no such file", line=8, id="b", feature="image", detail="b.jpg"))
    with pytest.raises(TooManyRejectsError, match=r"2 of 100 .*2\.00%, allowed 1\.00%.*items.csv line 7.*--max-bad"):
        rejects.enforce(0.01)
    lines = rejects.write(tmp_path).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file": "items.csv", "reason": "duplicate item id", "line": 7, "id": "ä"},
        {
            "file": "items.csv",
            "reason": "image: no such file",
            "line": 8,
            "id": "b",
            "feature": "image",
            "detail": "b.jpg",
        },
    ]
    assert rejects.counts() == {"duplicate item id": 1, "image: no such file": 1}


def test_a_feature_that_fails_entirely_is_an_error_however_small_its_share() -> None:
    rejects = Rejects()
    rejects.seen("events.csv", 1_000_000)
    rejects.seen("items.csv image", 10)
    for line in range(10):
        rejects.add(Reject("items.csv", "image: no such file", line=line + 2, feature="image"))
    with pytest.raises(TooManyRejectsError, match=r"items.csv image: all 10 rejected, first items.csv line 2"):
        rejects.enforce(0.01)
