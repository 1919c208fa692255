"""Rows and files that could not be used: counted, listed with their place and reason, never dropped in silence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tfrecs.errors import TooManyRejectsError
from tfrecs.schema import REJECTED_FILE

# A table or feature that fails entirely is a mistake in the spec, however small its share of all rows is. Below this
# many values the share decides alone: one broken picture in a catalogue with a single picture is just that.
WHOLE = 10


@dataclass(frozen=True)
class Reject:
    """One row or value that was left out.

    Attributes:
      file: the table it came from, as the spec names it.
      reason: what is wrong, the same words for every case of it, so that it can be counted.
      line: line in a text table, row number in parquet, from 1; None where a file has no lines.
      id: the item, user or event it is about, where known.
      feature: the feature that went missing, where the row itself was kept.
      detail: what this case looked like.
      kept: True where the value was used after all, in part; such are listed and counted, but are no failures.
    """

    file: str
    reason: str
    line: int | None = None
    id: str | None = None
    feature: str | None = None
    detail: str | None = None
    kept: bool | None = None

    def line_of_json(self) -> str:
        """As it stands in `rejected.jsonl`."""
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None}, ensure_ascii=False)

    def place(self) -> str:
        """Where to look, in a few words."""
        parts = [self.file]
        if self.line is not None:
            parts.append(f"line {self.line}")
        if self.id is not None:
            parts.append(f"id {self.id!r}")
        return " ".join(parts)


class Rejects:
    """Collects rejects and how much was looked at; adding is the only effect until `write`."""

    def __init__(self) -> None:
        self._rejects: list[Reject] = []
        self._seen: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def seen(self, source: str, count: int) -> None:
        """`count` rows or values of `source` (a table, or a feature of it) were looked at."""
        self._seen[source] += count

    def add(self, reject: Reject) -> None:
        """Adds one; its source is its feature where it has one, else its file."""
        self._rejects.append(reject)
        self._failed[source_of(reject)] += not reject.kept

    def extend(self, seen: Mapping[str, int], rejects: Iterable[Reject]) -> None:
        """Takes over what was collected elsewhere, say while one shard was made."""
        self._seen.update(seen)
        for reject in rejects:
            self.add(reject)

    def seen_counts(self) -> dict[str, int]:
        """Source -> how many rows or values of it were looked at."""
        return dict(self._seen)

    def __len__(self) -> int:
        return len(self._rejects)

    def __iter__(self) -> Iterator[Reject]:
        return iter(self._rejects)

    def counts(self) -> dict[str, int]:
        """Reason -> how many were left out, the most frequent first."""
        return _counted(reject.reason for reject in self._rejects if not reject.kept)

    def kept_counts(self) -> dict[str, int]:
        """Reason -> how many were used in part, the most frequent first."""
        return _counted(reject.reason for reject in self._rejects if reject.kept)

    def summary(self) -> str:
        """One line: how many of how many, and why."""
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in self.counts().items())
        said = f"{self._failed.total():,} of {self._seen.total():,} rows and values rejected"
        return f"{said} ({reasons})" if reasons else said

    def enforce(self, max_bad: float) -> None:
        """Raises TooManyRejectsError above the share `max_bad`, or where a whole table or feature was rejected."""
        for source, failed in self._failed.items():
            if failed >= max(self._seen[source], WHOLE) and max_bad < 1:
                first = next(one for one in self._rejects if source_of(one) == source and not one.kept)
                where = f"all {failed:,} rejected, first {first.place()}"
                raise TooManyRejectsError(f"{source}: {where}: {_told(first)}; mend the data or the spec")
        failed, total = self._failed.total(), self._seen.total()
        if failed > max_bad * total:
            failures = [reject for reject in self._rejects if not reject.kept]
            reason, count = Counter(reject.reason for reject in failures).most_common(1)[0]
            first = next(reject for reject in failures if reject.reason == reason)
            raise TooManyRejectsError(
                f"{failed:,} of {total:,} rows and values rejected "
                f"({failed / max(total, 1):.2%}, allowed {max_bad:.2%}); most often ({count:,}) "
                f"{_told(first)}, first {first.place()}; mend the data or raise --max-bad"
            )

    def write(self, folder: Path) -> Path:
        """Writes `rejected.jsonl`: one object a line, in the order found; empty where nothing was rejected."""
        path = folder / REJECTED_FILE
        path.write_text("".join(f"{reject.line_of_json()}\n" for reject in self._rejects), encoding="utf-8")
        return path


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items(), key=lambda pair: (-pair[1], pair[0])))


def source_of(reject: Reject) -> str:
    """The name under which `seen` counts what this reject is one of."""
    return f"{reject.file} {reject.feature}" if reject.feature else reject.file


def _told(reject: Reject) -> str:
    return f"{reject.reason} ({reject.detail})" if reject.detail else reject.reason
