"""Quotation marks: quoted tables come back to the byte, and a stray mark in an unquoted one costs no other row."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parsed_text import parsed

from tfrecs.errors import DataError
from tfrecs.rejects import Rejects
from tfrecs.spec.models import InteractionsSpec
from tfrecs.tables import quoting
from tfrecs.tables.delimited import Malformed
from tfrecs.tables.quoting import Quoting
from tfrecs.tables.records import check_lines, count_lines
from tfrecs.tables.table import Table, read_table

Read = tuple[list[list[str]], list[int], list[Malformed], list[str]]


def read(text: str, separator: str = "\t", quoting: Quoting = "auto") -> Read:
    notes: list[str] = []
    frame, lines, bad = parsed(text, separator, quoting, notes.append)
    return frame.fillna("").to_numpy().tolist(), lines.tolist(), bad, notes


def unquoted(rows: Sequence[Sequence[str]], separator: str = "\t", end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in rows)


def log(changed: dict[int, str], last: bool = False, rows: int = 30) -> list[list[str]]:
    """Header and rows of a log, whose query (in the middle, or the last column) is changed in some rows, from 1."""
    result = [["user", "item", "rating", "query"] if last else ["user", "item", "query", "rating"]]
    for row in range(1, rows + 1):
        query = changed.get(row, "sea")
        result.append([f"u{row % 5}", str(100 + row), *(["4", query] if last else [query, "4"])])
    return result


STRAYS = {
    "two opened and never closed": {3: '"quiet sea', 17: '"quiet'},
    "one opened, one closed": {3: '"quiet sea', 17: 'quiet sea"'},
    "one in the last row": {30: '"quiet'},
    "one in the first row": {1: '"quiet'},
    "an odd number": {3: '"a', 5: '"b', 6: '"c'},
    "a mark alone": {4: '"', 20: '"'},
    "marks around a word and text behind": {4: '"sea" of love', 9: '"quiet'},
    "doubled marks": {4: '""sea', 9: 'sea""', 12: '"'},
    "neighbours": {4: '"sea', 5: 'sea"'},
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("changed", STRAYS.values(), ids=STRAYS)
def test_a_stray_mark_in_an_unquoted_table_stands_and_costs_no_row(
    changed: dict[int, str], separator: str, end: str, last: bool
) -> None:
    rows = log(changed, last)
    for text in (
        unquoted(rows, separator, end),
        unquoted(rows, separator, end).removesuffix(end),
        "\ufeff" + unquoted(rows, separator, end),
    ):
        got, lines, bad, notes = read(text, separator)
        assert (got, lines, bad) == (rows[1:], list(range(2, 32)), [])
        assert len(notes) == 1
        assert f"first on line {min(changed) + 1};" in notes[0]


def test_words_in_marks_of_a_table_with_a_stray_mark_keep_them() -> None:
    rows = log({3: '"Heroes"', 9: '"quiet', 12: 'a 5" pipe'})
    assert read(unquoted(rows))[0] == rows[1:]


def test_a_mark_in_the_middle_of_a_field_is_text() -> None:
    rows = log({3: 'a 5" pipe', 4: 'the 6"', 9: 'x""y'})
    assert read(unquoted(rows)) == (rows[1:], list(range(2, 32)), [], [])
    text = 'id,size,text\n1,5" pipe,"two\nlines"\n2,6",x\n'
    assert read(text, ",")[0] == [["1", '5" pipe', "two\nlines"], ["2", '6"', "x"]]


TEXTS = (
    "plain", "with, comma", "two\nlines", "two\r\nlines, and a comma", 'she said ""no""', '"', '""', '"quoted"', "\n", ",", "",
    "tab\there", "five\n\nblank, lines\n\n", "x" * 300_000, "list:\n- a\n- b\n- c", 'a "quoted", word', "ends with a mark\"",
)  # fmt: skip


@pytest.mark.parametrize("style", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("seed", range(5))
def test_a_quoted_table_comes_back_to_the_byte(style: int, separator: str, end: str, seed: int) -> None:
    draw = random.Random(seed)
    rows = [[str(n), draw.choice(TEXTS), draw.choice(("drama", "a|b")), draw.choice(TEXTS)] for n in range(60)]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, lineterminator=end, quoting=style).writerows(
        [["id", "title", "genre", "text"], *rows]
    )
    got, lines, bad, notes = read(file.getvalue(), separator)
    assert (got, bad, notes) == (rows, [], [])
    assert lines[0] == 2


def test_a_line_that_looks_like_a_row_inside_a_quoted_text_stays_there_and_is_told() -> None:
    text = 'id,text,year\n9,,7\n1,"a ""b"", c",7\n2,"1,3\n4,5",8\n3,plain,5\n'
    got, _, bad, notes = read(text, ",")
    assert (got[1:3], bad) == ([["1", 'a "b", c', "7"], ["2", "1,3\n4,5", "8"]], [])
    assert len(notes) == 1
    assert notes[0].startswith("lines that look like rows are inside quoted fields, first on line 4;")


def test_an_unclosed_mark_in_a_quoted_table_is_rejected_by_its_line_and_costs_no_other_row() -> None:
    text = 'id,title,text\n1,"a, b",x\n2,"never closed,y\n3,z,"two\nlines"\n4,"closed" and more,x\n5,last,"open\n'
    got, lines, bad, notes = read(text, ",")
    assert got == [["1", "a, b", "x"], ["3", "z", "two\nlines"]]
    assert lines == [2, 4]
    assert [(problem.line, problem.reason) for problem in bad] == [
        (3, "malformed line"),
        (6, "malformed line"),
        (7, "malformed line"),
    ]
    assert all("`quoting: none`" in problem.detail for problem in bad)
    assert notes == []


def test_a_mark_that_takes_in_rows_of_a_quoted_table_costs_its_own_row_only() -> None:
    rows = ['1,"a, b",7', '2,"open,7', "3,x,7", "4,y,7", '5,z",7', "6,w,7"]
    got, _, bad, _ = read("\n".join(["id,title,year", *rows]), ",")
    assert [row[0] for row in got] == ["1", "3", "4", "5", "6"]
    assert [(problem.line, "up to line 6" in problem.detail) for problem in bad] == [(3, True)]


def test_a_row_of_several_lines_and_the_wrong_width_is_one_reject() -> None:
    got, lines, bad, _ = read('id,text\n1,"a\nb, c, d\ne",too many\n2,x\n', ",")
    assert (got, lines, [problem.line for problem in bad]) == ([["2", "x"]], [5], [2])


def test_where_words_and_rows_cannot_be_told_apart_each_line_is_rejected_until_the_spec_says() -> None:
    text = 'id,text\na1,x\na2,"Hello\nworld,bye"\na3,y\n'
    got, _, bad, _ = read(text, ",")
    assert [row[0] for row in got] == ["a1", "a3"]
    assert [problem.line for problem in bad] == [3, 4]
    assert "`quoting: none`" in bad[0].detail
    assert read(text, ",", "quoted")[0][1] == ["a2", "Hello\nworld,bye"]
    assert read(text, ",", "none")[0][1:3] == [["a2", '"Hello'], ["world", 'bye"']]
    # Another row that is clearly quoted settles it.
    assert read(text + 'a4,"x, y"\n', ",")[0][1] == ["a2", "Hello\nworld,bye"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [1, 40, 700])
def test_a_file_read_in_blocks_is_the_file_read_whole(end: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    quoted = log({row: "a, b" if row in (55, 90, 91) else f"w{row}" for row in range(1, 121)}, rows=120)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=end).writerows([*quoted[:70], ["too", "short"], [], *quoted[70:]])
    stray = unquoted(log({55: '"quiet'}, rows=120), ",", end)
    for text in (buffer.getvalue(), stray, stray.replace('"', ""), f"{end}{stray[:50]}"):
        whole, lines, bad = parsed(text, ",")
        with monkeypatch.context() as patch:
            patch.setattr(quoting, "PIECE", 64)
            parts, own_lines, own_bad = parsed(text, ",", block=block)
        pd.testing.assert_frame_equal(parts, whole)
        assert (own_lines.tolist(), own_bad) == (lines.tolist(), bad)


def test_the_spec_has_the_last_word() -> None:
    rows = log({3: '"Heroes"', 5: '"ab"'})
    assert read(unquoted(rows), quoting="none")[0] == rows[1:]
    assert read(unquoted(rows))[0][2][2] == "Heroes"
    rows = log({3: '"quiet sea', 17: 'quiet sea"'})
    got, _, bad, notes = read(unquoted(rows), quoting="quoted")
    assert (len(got), bad, notes) == (16, [], [])
    assert InteractionsSpec(file="t.csv", user="u", item="i", quoting="none").quoting == "none"
    with pytest.raises(ValueError, match="'auto', 'quoted' or 'none'"):
        InteractionsSpec.model_validate({"file": "t.csv", "user": "u", "item": "i", "quoting": "always"})


def test_what_was_found_is_a_note_with_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(unquoted(log({3: '"quiet'})))
    rejects = Rejects()
    assert len(read_table(tmp_path, "t.tsv", ["query"], rejects, None)) == 30
    assert [note.split(":")[0] for note in rejects.notes] == ["t.tsv"]


def test_a_header_that_begins_with_a_mark_is_that_of_an_unquoted_table(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('"user\titem\nu1\t1\n')
    with pytest.raises(DataError, match='there are "user, item'):
        read_table(tmp_path, "t.tsv", ["user"], Rejects(), None)


def test_lines_that_are_neither_used_nor_rejected_are_an_error_of_ours() -> None:
    check_lines(count_lines(b"a\nb\r\nc\rd"), 4)
    with pytest.raises(RuntimeError, match="internal error: 4 lines in a table, 3"):
        check_lines(count_lines(b"a\nb\r\nc\rd"), 3)
    table = Table("t.csv", pd.DataFrame({"a": [1, 2]}), np.array(["t.csv"] * 2), np.array([2, 3]))
    with pytest.raises(RuntimeError, match="has 2 rows, 1 used, 0 rejected"):
        table.check_rows(1, 0)
