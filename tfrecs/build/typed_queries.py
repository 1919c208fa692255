"""Cleans the query column of an interaction table: what users typed before they took an item."""

from __future__ import annotations

import re

import numpy as np

from tfrecs.errors import DataError
from tfrecs.rejects import Rejects
from tfrecs.tables.cells import clean
from tfrecs.tables.table import Table, is_null

# Characters. Nobody types more, and a log with whole pages in this column would dominate the records.
_MAX_LENGTH = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # NUL and the like, which the servers refuse in a query.


def clean_query(value: object) -> str:
    """Clean one query: white space becomes single blanks, control characters are dropped.

    Raises:
      DataError: neither text nor a number nor a date, or bytes that are not UTF-8.
    """
    return " ".join(_CONTROL.sub("", " ".join(clean(value).split())).split())


def query_texts(table: Table, column: str, rows: np.ndarray, rejects: Rejects) -> np.ndarray:
    """Return the queries of the usable events. A query that cannot be used is rejected, and its event kept without it.

    Args:
      table: the interactions.
      column: of the queries.
      rows: int [n], positions of the usable events; other queries are ignored.
      rejects: takes queries that cannot be used, or are cut.

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
        if len(text) > _MAX_LENGTH:
            detail = f"{len(text):,} characters; the first {_MAX_LENGTH:,} are used"
            rejects.add(table.rejected(row, "query: used in part", feature="query", detail=detail, kept=True))
            text = text[:_MAX_LENGTH].rstrip()
        texts[row] = text
    return texts
