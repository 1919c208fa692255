"""The item table as people read it: titles, texts, numbers, paths of media. No TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from serving.app.catalogue import ItemRow
from tfrecs.errors import DataError
from tfrecs.modalities import MODALITIES
from tfrecs.rejects import Rejects
from tfrecs.spec.dataset_yaml import DatasetSpec, ItemsSpec
from tfrecs.tables.cells import joined
from tfrecs.tables.table import Table, as_ids, as_numbers, read_table

YEAR = "year"
_YEAR_IN_TITLE = re.compile(r"\((1[89]\d\d|20\d\d)\)\s*$")
_LEAST_SHARE = 0.5  # of the items that have a number, for it to be one that people would ask for


def media_features(spec: DatasetSpec) -> dict[str, str]:
    """Feature -> its kind, of those that are files."""
    media = {row.kind for row in MODALITIES if row.from_file}
    return {name: one.kind for name, one in spec.items.features.items() if one.kind in media and one.column}


def read_rows(data: Path, spec: DatasetSpec) -> dict[str, ItemRow]:
    """Item id -> what its row says; the first row of an id counts, as in a build.

    Raises:
      DataError: the table cannot be read.
    """
    source = spec.items
    table = read_table(data, source.file, [source.id], Rejects(), source.encoding)
    titles = _strings(table, [source.title] if source.title else [])
    texts = _strings(table, _text_columns(source))
    numbers = _numbers(table, source, titles)
    media = {name: _strings(table, [str(source.features[name].column)]) for name in media_features(spec)}
    result: dict[str, ItemRow] = {}
    for row, item in enumerate(as_ids(table.column(source.id)).tolist()):
        if isinstance(item, str) and item not in result:
            own = {name: float(values[row]) for name, values in numbers.items() if not np.isnan(values[row])}
            files = {name: paths[row] for name, paths in media.items() if paths[row]}
            result[item] = ItemRow(titles[row], texts[row], own, files)
    return result


def _text_columns(source: ItemsSpec) -> list[str]:
    texts = [one for one in source.features.values() if one.kind == "text"]
    return list(dict.fromkeys(column for one in texts for column in one.table_columns))


def _strings(table: Table, columns: Iterable[str]) -> list[str]:
    """The columns of each row as one text, as a build joins them."""
    series = [table.column(name) for name in columns if name in table.frame.columns]
    return [_text([column.iloc[row] for column in series]) for row in range(len(table))]


def _text(cells: list[Any]) -> str:
    try:
        return joined(cells)
    except DataError:
        return ""  # the build has listed this row in rejected.jsonl; the item is there without its text


def _numbers(table: Table, source: ItemsSpec, titles: list[str]) -> dict[str, np.ndarray]:
    """Columns of numbers that people may ask for: not ids, not row numbers, not flags; and the year that a title ends
    with, as film catalogues have it."""
    used = {one.row for one in source.features.values()} | {source.id, source.title}
    result: dict[str, np.ndarray] = {}
    for column in map(str, table.frame.columns):
        if column in used or column.lower().endswith("id") or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", column):
            continue
        if any(isinstance(value, (list, tuple, dict, np.ndarray)) for value in table.frame[column].head(100)):
            continue
        values, bad = as_numbers(table.frame[column])
        there = ~np.isnan(values)
        if not bad.any() and there.mean() >= _LEAST_SHARE and len(np.unique(values[there])) > 2:
            result[column] = values
    found = [_YEAR_IN_TITLE.search(title) for title in titles]
    years = np.array([float(match.group(1)) if match else np.nan for match in found])
    if YEAR not in result and (~np.isnan(years)).mean() >= _LEAST_SHARE:
        result[YEAR] = years
    return result
