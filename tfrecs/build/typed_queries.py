"""What users typed before they took an item: the query column of an interaction table -> clean text."""

from __future__ import annotations

import re

import numpy as np

from tfrecs.tables.cells import clean
from tfrecs.errors import DataError
from tfrecs.rejects import Rejects
from tfrecs.tables.table import Table, is_null

# Beyond this nobody has typed it: a log that holds whole pages here would be most of the records.
_LONGEST = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # NUL and the like, which the servers refuse in a query.


def clean_query(value: object) -> str:
    """A cell -> one line of text as somebody could have sent it: white space is single blanks, no control characters.

    Raises:
      DataError: neither text nor a number nor a date, or bytes that are not UTF-8.
    """
    return " ".join(_CONTROL.sub("", " ".join(clean(value).split())).split())


def query_texts(table: Table, column: str, rows: np.ndarray, rejects: Rejects) -> np.ndarray:
    """The queries of the usable events; one that cannot be used is rejected and its event kept without it.

    Args:
      table: the interactions.
      column: of the queries.
      rows: int [n], positions of the usable events; the others' queries are not looked at.
      rejects: takes what cannot be used, or is cut.

    Returns:
      str (object) [rows of the table], "" where there is none.
    """
    texts = np.full(len(table), "", object)
    values = table.column(column).array
    for row in rows.tolist():
        value = values[row]
        if is_null(value):
            continue
        rejects.seen(f"{table.files[row]} query", 1)
        try:
            text = clean_query(value)
        except DataError as error:
            rejects.add(table.rejected(row, "query: cannot be used", feature="query", detail=str(error)))
            continue
        if len(text) > _LONGEST:
            said = f"{len(text):,} characters; the first {_LONGEST:,} are used"
            rejects.add(table.rejected(row, "query: used in part", feature="query", detail=said, kept=True))
            text = text[:_LONGEST].rstrip()
        texts[row] = text
    return texts
