"""The item table as the app shows it: titles, texts, numbers, paths of media files.

Runs without TensorFlow: what the app must know of a feature kind is in its row of the table of modalities.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from serving.app.catalogue import ItemRow
from tfrecs.errors import DataError
from tfrecs.modalities import row
from tfrecs.rejects import Rejects
from tfrecs.spec.dataset_yaml import DatasetSpec, ItemsSpec
from tfrecs.tables.cells import joined
from tfrecs.tables.ids import own_ids
from tfrecs.tables.lists import read_list
from tfrecs.tables.table import Table, as_numbers, read_table

YEAR = "year"
_YEAR_IN_TITLE = re.compile(r"\((1[89]\d\d|20\d\d)\)\s*$")
_LEAST_SHARE = 0.5  # Of the items must have a number for people to be able to ask for it.


def media_features(spec: DatasetSpec) -> dict[str, str]:
    """Map each item feature that is a file to how a page shows it: "image", "audio", or its kind for neither."""
    features = spec.items.features if spec.items else {}
    files = {name: feature for name, feature in features.items() if feature.column}
    rows = {name: row(feature.kind) for name, feature in files.items()}
    return {name: modality.shown_as or modality.kind for name, modality in rows.items() if modality.from_file}


def read_rows(data: Path, spec: DatasetSpec, served: Collection[str] = ()) -> dict[str, ItemRow]:
    """Read the item table.

    Args:
      data: the data folder.
      spec: of the data set.
      served: ids of the model's items, which ids that differ in form only are taken for.

    Returns:
      Item id -> its row; of several rows with the same id the first, as in a build. {} where there is no item table.

    Raises:
      DataError: the table cannot be read.
    """
    source = spec.items
    if source is None:
        return {}
    table = read_table(data, source.file, [source.id], Rejects(), source.encoding, source.quoting)
    titles = _strings(table, [source.title] if source.title else [])
    texts = _strings(table, _text_columns(source))
    numbers = _numbers(table, source, titles)
    media = {name: _strings(table, [str(source.features[name].column)]) for name in media_features(spec)}
    result: dict[str, ItemRow] = {}
    for position, item in enumerate(own_ids(table, source.id, Rejects(), served).tolist()):
        if isinstance(item, str) and item not in result:
            own = {name: float(values[position]) for name, values in numbers.items() if not np.isnan(values[position])}
            files = {name: paths[position] for name, paths in media.items() if paths[position]}
            result[item] = ItemRow(titles[position], texts[position], own, files)
    return result


def _text_columns(source: ItemsSpec) -> list[str]:
    texts = [feature for feature in source.features.values() if row(feature.kind).shown_as == "text"]
    return list(dict.fromkeys(column for feature in texts for column in feature.table_columns))


def _strings(table: Table, columns: Iterable[str]) -> list[str]:
    """Join the columns of each row to one text, as a build does."""
    series = [table.column(name) for name in columns if name in table.frame.columns]
    return [_text([column.iloc[position] for column in series]) for position in range(len(table))]


def _text(cells: list[Any]) -> str:
    try:
        return joined([read_list(cell, numbers=False) for cell in cells])
    except DataError:
        return ""  # The build has listed this row in rejected.jsonl and kept the item without its text.


def _numbers(table: Table, source: ItemsSpec, titles: list[str]) -> dict[str, np.ndarray]:
    """Find the columns of numbers that people may ask for: not ids, row numbers or flags.

    A year in parentheses at the end of a title, as in catalogues of films, counts as a column.

    Returns:
      Column -> float64 [rows], NaN where unknown.
    """
    used = {feature.row for feature in source.features.values()} | {source.id, source.title}
    result: dict[str, np.ndarray] = {}
    for column in map(str, table.frame.columns):
        if column in used or column.lower().endswith("id") or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", column):
            continue
        if any(isinstance(value, (list, tuple, dict, np.ndarray)) for value in table.frame[column].head(100)):
            continue
        values, bad = as_numbers(table.frame[column])
        known = ~np.isnan(values)
        if not bad.any() and known.mean() >= _LEAST_SHARE and len(np.unique(values[known])) > 2:
            result[column] = values
    matches = [_YEAR_IN_TITLE.search(title) for title in titles]
    years = np.array([float(match.group(1)) if match else np.nan for match in matches])
    if YEAR not in result and (~np.isnan(years)).mean() >= _LEAST_SHARE:
        result[YEAR] = years
    return result
