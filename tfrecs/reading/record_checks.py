"""Checks of records for mistakes in the data; each returns warnings, one line each.

Pure functions over arrays; `pipelines.inspection.record_warnings` reads the records and calls them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tfrecs.schema import Manifest
from tfrecs.unix_time import IMPLAUSIBLE

# A feature distinguishes an item where at most so many items, itself included, or this share of all are similar in it.
_FEW, _FEW_OF_ALL = 4, 0.005
_DAY = 86_400
_EARLIEST = 631_152_000  # 1990-01-01: recommendation logs are younger.


def one_valued(name: str, payloads: Sequence[bytes]) -> list[str]:
    """Warn of a modality with mostly one value: a placeholder picture, a default text.

    Args:
      name: of the feature.
      payloads: of the items that have the feature.
    """
    if len(payloads) < 3:
        return []
    most = Counter(payloads).most_common(1)[0][1]
    if most == len(payloads):
        return [
            f"{name}: all {len(payloads):,} items have the same value; it carries no information and can be left out"
        ]
    if most > max(0.2 * len(payloads), 2):
        return [f"{name}: {most:,} of {len(payloads):,} items have the same value; a placeholder? Leave it empty there"]
    return []


def near_duplicates(
    vectors: Mapping[str, np.ndarray], presence: np.ndarray, min_cosine: float
) -> list[tuple[int, int]]:
    """Find pairs of items that are similar in every feature that both have, at least one of them distinctive.

    A feature is distinctive for an item where few others are similar in it: two items that share a genre and have nothing
    else are no duplicates.

    Args:
      vectors: feature -> descriptors of the items, float32 [N, d].
      presence: bool [N, M], in the order of `vectors`.
      min_cosine: of two descriptors that count as similar, in (0, 1].

    Returns:
      Pairs (i, j) with i < j, ascending.
    """
    count = len(presence)
    unit = {name: _unit(matrix) for name, matrix in vectors.items()}
    pairs: list[tuple[int, int]] = []
    for start in range(0, count, 512):
        rows = slice(start, min(start + 512, count))
        similar = np.ones([rows.stop - start, count], bool)
        distinctive = np.zeros_like(similar)
        for column, matrix in enumerate(unit.values()):
            both = presence[rows, column, None] & presence[None, :, column]
            same = both & (matrix[rows] @ matrix.T >= min_cosine)
            similar &= ~both | same
            distinctive |= same & (same.sum(axis=1, keepdims=True) <= max(_FEW, _FEW_OF_ALL * count))
        firsts, seconds = np.nonzero(similar & distinctive)
        pairs.extend((start + int(i), int(j)) for i, j in zip(firsts, seconds, strict=True) if start + i < j)
    return sorted(pairs)


def shifted(vectors: Mapping[str, np.ndarray], presence: np.ndarray, reach: int) -> list[str]:
    """Warn of features that agree better with others when shifted by a few rows: ids and feature rows out of line.

    The agreement of two features is the linear centred kernel alignment of their descriptors over the items that have
    both (Kornblith et al., 2019, arXiv:1905.00414); far shifts of the same rows give its chance level.

    Args:
      vectors, presence: as of `near_duplicates`, items in the order of their table.
      reach: largest shift that is tried, in rows, in both directions.
    """
    count = len(presence)
    names = list(vectors)
    if count < 50 or len(names) < 2:
        return []
    unit = [_unit(vectors[name]) * presence[:, [column]] for column, name in enumerate(names)]
    near = [move for move in range(-reach, reach + 1) if move]
    far = [round(count * share) for share in np.linspace(0.25, 0.75, 20)]
    warnings: list[str] = []
    for column in range(len(names)):
        for other in range(column + 1, len(names)):
            chance = np.array([_alignment(unit[column], np.roll(unit[other], move, axis=0)) for move in far])
            here = _alignment(unit[column], unit[other])
            fits = {move: _alignment(unit[column], np.roll(unit[other], move, axis=0)) for move in near}
            best = max(fits, key=lambda move: fits[move])
            level, spread = chance.mean(), max(float(chance.std()), 1e-6)
            if (fits[best] - level) > 8 * spread and (fits[best] - level) > 3 * max(here - level, 0.0):
                warnings.append(
                    f"{names[column]} and {names[other]} fit better when {names[other]} is moved by {best:+d} rows "
                    f"(alignment {fits[best]:.3f} against {here:.3f} as it stands); are ids and rows out of line?"
                )
    return warnings


def ids_off_by_one(item_ids: Sequence[str], seen: Sequence[str], unknown: Sequence[str]) -> list[str]:
    """Warn of item ids in the log that are shifted by one against the catalogue: counted from 1 here and from 0 there.

    Args:
      item_ids: the catalogue.
      seen: item ids that have events.
      unknown: item ids of rejected events.
    """
    numbers = {int(item) for item in item_ids if re.fullmatch(r"\d{1,15}", item)}
    if len(numbers) < 10 or len(numbers) < 0.9 * len(item_ids) or max(numbers) - min(numbers) != len(numbers) - 1:
        return []
    strange = {int(item) for item in unknown if re.fullmatch(r"\d{1,15}", item)}
    used = {int(item) for item in seen if re.fullmatch(r"\d{1,15}", item)}
    for edge, outside, way in ((min(numbers), max(numbers) + 1, "one"), (max(numbers), min(numbers) - 1, "minus one")):
        if strange == {outside} and edge not in used:
            return [
                f"items are {min(numbers)} to {max(numbers)} but the log knows {outside} and never {edge}: its item ids "
                f"look shifted by {way}"
            ]
    return []


def unknown_item(reason: str, detail: str | None) -> str | None:
    """Return the item id that a reject of an event with an unknown item names, "" where it names none; None for others."""
    if reason != "interaction with an unknown item":
        return None
    match = re.search(r" is '(.*)'$", detail or "")
    return match[1] if match else ""


class TimeOddities:
    """Times that cannot be unix seconds of events: too early, in the future, or dates only.

    Args:
      now: unix seconds.
    """

    def __init__(self, now: int):
        self._now = now
        self._total = self._known = self._early = self._future = 0
        self._midnight = self._thousands = True

    def add(self, times: np.ndarray) -> None:
        """Take times, int64 [E], unix seconds; 0 = unknown."""
        known = times[times != 0]
        self._total += len(times)
        self._known += len(known)
        self._early += int((known < _EARLIEST).sum())
        self._future += int((known > self._now + _DAY).sum())
        self._midnight &= not (known % _DAY).any()
        self._thousands &= not (known % 1000).any()

    def warnings(self) -> list[str]:
        """Return a line for each oddity."""
        total, known, early, future = self._total, self._known, self._early, self._future
        lines = []
        if 0 < known < total:
            lines.append(f"times: {total - known:,} of {total:,} events are at second 0; unknown times?")
        if early:
            lines.append(f"times: {early:,} of {total:,} events are before 1990; are they seconds since 1970?")
        if future:
            lines.append(f"times: {future:,} of {total:,} events are in the future; milliseconds, or another zone?")
        if known >= 20 and self._midnight:
            lines.append("times: all are at midnight UTC; dates without a time of day make the hour meaningless")
        if known >= 20 and self._thousands:
            lines.append("times: all are multiples of 1000 seconds; were they divided or rounded?")
        return lines


def odd_times(times: np.ndarray, now: int) -> list[str]:
    """Warn of times as `TimeOddities` does, of all events at once."""
    oddities = TimeOddities(now)
    oddities.add(times)
    return oddities.warnings()


def heavy_users(events: Mapping[str, int], most: int, total: int) -> list[str]:
    """Warn of users with more than `most` events: crawlers, test accounts, shared logins.

    Args:
      events: user -> number of events; users with fewer may be left out.
      most: number of events that people have at most.
      total: number of all events.
    """
    heavy = {user: count for user, count in events.items() if count > most}
    if not heavy:
        return []
    first = max(heavy, key=lambda user: heavy[user])
    share = sum(heavy.values()) / total
    return [
        f"users: {len(heavy):,} have more than {most:,} events ({share:.1%} of all; {first!r} has {heavy[first]:,}); "
        "people, or machines?"
    ]


def from_manifest(manifest: Manifest) -> list[str]:
    """Warn of what the counts in the manifest alone show."""
    warnings = [
        f"{name}: only {share:.1%} of the items have it" for name, share in manifest.coverage.items() if share < 0.1
    ]
    for name, split in manifest.splits.items():
        if not split.events:
            warnings.append(
                f"split {name}: empty; {'nothing can be trained' if name == 'train' else 'nothing is measured'}"
            )
    schema = manifest.schema_
    if schema.has_queries and not any(feature.kind == "text" for feature in schema.items):
        warnings.append(
            "queries: no item feature is a text, so no model learns from them; words are sought in titles alone"
        )
    elif schema.has_queries and not manifest.splits["train"].queries:
        warnings.append("queries: no training event has one; is `query` the right column?")
    bad = manifest.rejected.get(IMPLAUSIBLE, 0)
    if bad:
        warnings.append(
            f"times: {bad:,} events were rejected, since their {IMPLAUSIBLE}; rejected.jsonl says what they look like"
        )
    unknown = manifest.rejected.get("interaction with an unknown item", 0)
    if unknown > 0.005 * manifest.interactions:
        warnings.append(f"ids: {unknown:,} events name an item that is not in the catalogue")
    total = sum(manifest.train_counts.values())
    if total and manifest.items > 20:
        top, count = max(manifest.train_counts.items(), key=lambda pair: pair[1])
        if count > 0.2 * total:
            warnings.append(f"items: {top!r} has {count / total:.0%} of the training events")
    return warnings


def _unit(matrix: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    matrix = matrix.astype(np.float32)
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)


def _alignment(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment of [N, d] and [N, e], in [0, 1]."""
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    cross = float(np.square(first.T @ second).sum())
    own = float(np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second))
    return cross / own if own > 0 else 0.0
