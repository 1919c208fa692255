"""Infers the spec of a folder from conventional file and column names and RecBole's typed headers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrecs import modalities
from tfrecs.errors import DataError, SpecError
from tfrecs.rejects import Rejects
from tfrecs.spec.event_types import infer_weight
from tfrecs.spec.models import RESERVED_INPUTS, DatasetSpec, ItemsSpec
from tfrecs.tables.lists import looks_like_list, read_list
from tfrecs.tables.table import Table, as_numbers, is_null, listed_columns, read_table, suffix_of
from tfrecs.tables.vectors import vector_in
from tfrecs.unix_time import likely_unit

_TABLES = {
    "interactions": (
        "interactions",
        "ratings",
        "events",
        "clicks",
        "reviews",
        "plays",
        "purchases",
        "transactions",
        "review",
    ),
    "items": (
        "items",
        "movies",
        "products",
        "articles",
        "books",
        "songs",
        "tracks",
        "catalogue",
        "catalog",
        "business",
    ),
    "users": ("users", "customers"),
}
# The first name that a table has is taken. Compared in lower case without `_`, so that userId is user_id.
_COLUMNS = {
    "user": ("user_id", "user", "uid", "customer_id", "reviewer_id", "visitor_id"),
    "item": (
        "item_id",
        "item",
        "iid",
        "movie_id",
        "product_id",
        "article_id",
        "book_id",
        "track_id",
        "song_id",
        "business_id",
        "parent_asin",  # Amazon's id of a product; its asin is one of several variants.
        "asin",
    ),
    "time": (
        *("timestamp", "time", "ts", "datetime", "date", "unix_review_time", "created_at"),
        *("date_added", "t_dat", "review_date"),
    ),
    "order": ("pos", "position", "order", "seq"),
    "event": ("event_type", "event", "behavior", "behaviour", "action", "action_type"),
    "weight": ("weight", "event_weight"),
    "rating": ("rating", "score", "stars", "overall"),
    "split": ("split", "fold"),
    "query": ("query", "search_query", "query_text"),
    "title": ("title", "item_name", "name", "movie_title", "prod_name"),
}
_CATEGORIES = ("genres", "genre", "categories", "category", "tags", "class")
_FEW = 100  # Different values up to which a column of words reads as a category.
_SAMPLE = 1000  # Cells of a column that show what it holds.
_SENTENCE = 5  # Words from which on the average string of a list is a sentence.
_LIKED = 0.75  # A like is the upper quarter of the scale: 4 and more of 1 to 5.


def infer_spec(data: Path) -> DatasetSpec:
    """Infer the spec of a folder. Show it to the user (`spec_to_yaml`), since it is a guess.

    Raises:
      DataError: no such folder, or a table is unreadable.
      SpecError: the folder lacks a table or column with a conventional name.
    """
    if not data.is_dir():
        raise DataError(f"{data}: no such folder")
    events_file, items_file = _table(data, "interactions"), _table(data, "items")
    if events_file is None:
        raise SpecError(
            f"{data}: no dataset.yaml and no table named interactions.*; name the table so, or write a dataset.yaml"
        )
    spec: dict[str, Any] = {"name": re.sub(r"[^A-Za-z0-9._-]+", "-", data.resolve().name).lstrip("._-") or "dataset"}
    if items_file is not None:
        spec["items"] = _items(data, items_file)
    spec["interactions"], split = _interactions(data, events_file)
    users_file = _table(data, "users")
    if users_file is not None:
        users = _users(data, users_file)
        spec |= {"users": users} if users["features"] else {}
    spec["split"] = split
    return DatasetSpec.model_validate(spec)


def infer_items(data: Path) -> ItemsSpec:
    """Infer the items only, for a folder that may hold nothing else. Raises as `infer_spec` does."""
    file = _table(data, "items")
    if file is None:
        raise SpecError(
            f"{data}: no dataset.yaml and no table named items.*; name the table so, or give a dataset.yaml"
        )
    return ItemsSpec.model_validate(_items(data, file))


def _table(data: Path, role: str) -> str | None:
    atomic = {"interactions": ".inter", "items": ".item", "users": ".user"}[role]
    names = sorted(entry.name for entry in data.iterdir() if entry.is_file() and suffix_of(entry.name))
    by_stem = [name for stem in _TABLES[role] for name in names if _stem(name) == stem]
    if named := by_stem + [name for name in names if suffix_of(name) == atomic]:
        return named[0]
    # Part of a longer name: ratings_small, transactions_train, goodreads_books.
    others = {stem for stems in _TABLES.values() for stem in stems}
    parts = [
        name
        for name in names
        if _stem(name) not in others and set(_TABLES[role]) & set(re.split(r"[\W_]", _stem(name)))
    ]
    if len(parts) > 1:
        raise SpecError(f"{data}: {', '.join(parts)} may each be the {role}; name one of them in a dataset.yaml")
    return parts[0] if parts else None


def _stem(name: str) -> str:
    return name.lower().split(".")[0]


def _find(columns: Iterable[str], role: str) -> str | None:
    plain = {_plain(column): column for column in columns}
    return next((plain[_plain(name)] for name in _COLUMNS[role] if _plain(name) in plain), None)


def _require(table: Table, role: str) -> str:
    column = _find(table.frame.columns, role)
    if column is None:
        raise SpecError(
            f"{table.name}: no column looks like the {role} id (such as {_COLUMNS[role][0]}); "
            f"there are {listed_columns(table.frame.columns)}; name it in a dataset.yaml"
        )
    return column


def _feature_name(column: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]+", "_", column).lstrip("_0123456789") or "feature"
    return f"{name}_" if name in RESERVED_INPUTS else name


def _id_column(table: Table, role: str) -> str:
    named = next((column for column in table.frame.columns if _plain(column) == "id"), None)
    return _find(table.frame.columns, role) or named or _require(table, role)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


def _interactions(data: Path, file: str) -> tuple[dict[str, Any], dict[str, Any]]:
    table = read_table(data, file, (), Rejects(), None)
    columns = list(table.frame.columns)
    section: dict[str, Any] = {"file": file, "user": _require(table, "user"), "item": _require(table, "item")}
    time, order, rating = (_find(columns, role) for role in ("time", "order", "rating"))
    split_column = _find(columns, "split")
    section |= {"time": time, **_unit(table.frame[time])} if time else {"order": order} if order else {}
    section |= {"context": ["hour", "weekday"]} if time else {}
    query = _find(columns, "query")
    if query and table.types.get(query) not in ("float", "float_seq"):
        section["query"] = query
    if rating:
        numbers, _ = as_numbers(table.frame[rating])
        if not np.isnan(numbers).all():
            low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
            section["value"] = rating
            if low < high:
                liked = low + _LIKED * (high - low)
                section["labels"] = {
                    "like": {"column": rating, "at_least": liked},
                    "rating": {"column": rating, "range": [low, high]},
                }
    weight = infer_weight(table, _find(columns, "event"), _find(columns, "weight"))
    if weight:
        section["weight"] = weight
        section.pop("value", None)  # the weight is the event value
    if split_column:
        return section, {"by": "column", "column": split_column}
    return section, {"by": "time", "fractions": [0.8, 0.1, 0.1]} if time else {"by": "leave_last"}


def _unit(column: pd.Series) -> dict[str, str]:
    """The unit of unix times that are not seconds: the one in which every number is a time from 1971 to 2099."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return {}
    numbers, _ = as_numbers(column)
    known = numbers[~np.isnan(numbers)]
    units = {likely_unit(float(value)) for value in (known.min(), known.max())} if len(known) else set()
    unit = units.pop() if len(units) == 1 else None
    return {"time_unit": unit} if unit not in (None, "s") else {}


def _items(data: Path, file: str) -> dict[str, Any]:
    table = read_table(data, file, (), Rejects(), None)
    id_column = _id_column(table, "item")
    rest = [column for column in table.frame.columns if column != id_column]
    features: dict[str, Any] = {}
    for modality in modalities.MODALITIES:
        named = [column for column in rest if _plain(column) in map(_plain, modality.columns)]
        named = [column for column in named if not _are_nameless(table.frame[column])]
        if named and modality.all_columns:
            features[modality.kind] = {"kind": modality.kind, "columns": named}
        elif named:
            features[modality.kind] = {"kind": modality.kind, "column": named[0]}
    features |= _others(table, rest, features)
    title = _find(rest, "title")
    return {"file": file, "id": id_column, **({"title": title} if title else {}), "features": features}


def _users(data: Path, file: str) -> dict[str, Any]:
    table = read_table(data, file, (), Rejects(), None)
    id_column = _id_column(table, "user")
    rest = [column for column in table.frame.columns if column != id_column]
    features = _others(table, rest, {})
    for column in rest:
        if _feature_name(column) not in features and _is_short_list(table, column):
            features[_feature_name(column)] = {"kind": "categories", "column": column}
    return {"file": file, "id": id_column, "features": features}


def _is_short_list(table: Table, column: str) -> bool:
    return len({str(value) for value in table.frame[column]}) <= _FEW


def _others(table: Table, columns: Iterable[str], named: dict[str, Any]) -> dict[str, Any]:
    """Categories, vectors and numbers: by RecBole's types where the header has them, else by name and value."""
    used = {column for feature in named.values() for column in feature.get("columns", [feature.get("column")])}
    features: dict[str, Any] = {}
    for column in columns:
        if column in used or _are_nameless(table.frame[column]):
            continue
        sample = _sample(table.frame[column])
        lists = [cell for cell in map(_as_list, sample) if isinstance(cell, list | np.ndarray)]
        listed = 2 * len(lists) > len(sample) and any(len(cell) for cell in lists)
        kind = table.types.get(column)
        if kind == "token_seq":
            features[_feature_name(column)] = {"kind": "categories", "column": column, "separator": " "}
        elif kind == "float_seq" or (listed and _are_vectors(lists)):
            features[_feature_name(column)] = {"kind": "vector", "column": column}
        elif kind == "float":
            features[_feature_name(column)] = {"kind": "number", "column": column}
        elif kind == "token" and _is_short_list(table, column):
            features[_feature_name(column)] = {"kind": "categories", "column": column}
        elif listed and _are_sentences(lists):
            features[_feature_name(column)] = {"kind": "text", "column": column}
        elif listed or _plain(column) in map(_plain, _CATEGORIES):
            texts = [cell for cell in sample if isinstance(cell, str) and not looks_like_list(cell.strip())]
            features[_feature_name(column)] = {"kind": "categories", "column": column, **_separator(texts)}
    return features


def _sample(column: pd.Series) -> list[Any]:
    return list(islice((cell for cell in column if not is_null(cell)), _SAMPLE))


def _are_nameless(column: pd.Series) -> bool:
    """Whether cells hold records without a name (pictures in sizes, opening hours), of which no feature can be made."""
    cells = [read_list(cell, numbers=True) for cell in _sample(column)]
    return any(isinstance(cell, list) and any(isinstance(value, dict) for value in cell) for cell in cells)


def _are_sentences(lists: Sequence[Any]) -> bool:
    """Whether lists hold sentences, such as the features of a product, and not categories."""
    words = [len(str(value).split()) for cell in lists for value in cell]
    return bool(words) and sum(words) / len(words) >= _SENTENCE


def _as_list(cell: Any) -> Any:
    """Turn a cell into a list where it holds one, of strings or of numbers."""
    value = read_list(cell, numbers=True)
    if isinstance(value, str) and looks_like_list(value.strip()):
        try:
            return vector_in(value)
        except DataError:  # A text; this is a guess.
            return value
    return value


def _are_vectors(lists: Sequence[Any]) -> bool:
    """Whether lists hold numbers, and most of them as many."""
    widths = Counter(len(cell) for cell in lists)
    numbers = all(isinstance(value, int | float | np.number) for cell in lists for value in cell)
    return bool(widths) and numbers and 2 * max(widths.values()) > len(lists) and widths[0] < len(lists)


def _separator(texts: Sequence[str]) -> dict[str, str]:
    """The mark that most of the texts have; the first of `|`, `;` and `,` of equally many."""
    return {"separator": max("|;,", key=lambda mark: sum(mark in text for text in texts))} if texts else {}
