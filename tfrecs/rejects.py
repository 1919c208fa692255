"""Collects rows and values that could not be used, with file, line and reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tfrecs.errors import DataError, TooManyRejectsError
from tfrecs.schema import REJECTED_FILE

# A table or feature of which at least this many values all fail is a mistake in the spec, however small its share of all
# rows is. Below it only the share counts: a catalogue may have a single picture, and that one broken.
MIN_WHOLE = 10
_SHOWN = 3  # Values in an error.


@dataclass(frozen=True)
class Reject:
    """One row or value that was left out, or used in part.

    Attributes:
      file: the table it came from, as the spec names it.
      reason: what is wrong, in the same words for all such cases, so that they can be counted.
      line: line in a text table, row number in parquet, from 1; None for files without lines.
      id: of the item, user or event, where known.
      feature: the feature that is missing now, where the row itself was kept.
      detail: what is special to this case.
      remedy: what may be done about it, where the value tells.
      kept: True where the value was used in part; such are listed and counted, but are no failures.
    """

    file: str
    reason: str
    line: int | None = None
    id: str | None = None
    feature: str | None = None
    detail: str | None = None
    remedy: str | None = None
    kept: bool | None = None

    def line_of_json(self) -> str:
        """Return the line of `rejected.jsonl`."""
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None}, ensure_ascii=False)

    def location(self) -> str:
        """Return file, line and id in a few words."""
        parts = [self.file]
        if self.line is not None:
            parts.append(f"line {self.line}")
        if self.id is not None:
            parts.append(f"id {self.id!r}")
        return " ".join(parts)


class Rejects:
    """A collection of rejects, with the number of rows and values examined.

    Attributes:
      notes: what was read in another way than it stands in the data; one line each, for people.
      explanations: reason -> what an error about it adds, see `explain`.
    """

    def __init__(self) -> None:
        self._rejects: list[Reject] = []
        self._seen: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self.notes: list[str] = []
        self.explanations: dict[str, Callable[[], str]] = {}

    def note(self, line: str) -> None:
        """Add a note, once."""
        if line not in self.notes:
            self.notes.append(line)

    def seen(self, source: str, count: int) -> None:
        """Count rows or values of `source` (a table, or a feature of it) as examined."""
        self._seen[source] += count

    def add(self, reject: Reject) -> None:
        """Add a reject; its source is its feature where it has one, else its file."""
        self._rejects.append(reject)
        self._failed[source_of(reject)] += not reject.kept

    def explain(self, reason: str, explanation: Callable[[], str]) -> None:
        """Set what an error about this reason adds: what a right value looks like. Called only then."""
        self.explanations[reason] = explanation

    def extend(self, seen: Mapping[str, int], rejects: Iterable[Reject]) -> None:
        """Add what was collected elsewhere, for example while a shard was made."""
        self._seen.update(seen)
        for reject in rejects:
            self.add(reject)

    def seen_counts(self) -> dict[str, int]:
        """Return source -> number of rows or values examined."""
        return dict(self._seen)

    def __len__(self) -> int:
        return len(self._rejects)

    def __iter__(self) -> Iterator[Reject]:
        return iter(self._rejects)

    def counts(self) -> dict[str, int]:
        """Return reason -> number of rows and values left out, the most frequent first."""
        return _counted(reject.reason for reject in self._rejects if not reject.kept)

    def kept_counts(self) -> dict[str, int]:
        """Return reason -> number of values used in part, the most frequent first."""
        return _counted(reject.reason for reject in self._rejects if reject.kept)

    def summary(self) -> str:
        """Describe in one line how many were rejected, and why."""
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in self.counts().items())
        rejected = f"{self._failed.total():,} of {self._seen.total():,} rows and values rejected"
        return f"{rejected} ({reasons})" if reasons else rejected

    def enforce(self, max_bad: float) -> None:
        """Raise TooManyRejectsError above the share `max_bad`, or where a whole table or feature was rejected."""
        for source, failed in self._failed.items():
            if failed >= max(self._seen[source], MIN_WHOLE) and max_bad < 1:
                own = [reject for reject in self._rejects if source_of(reject) == source and not reject.kept]
                several, _ = _most_frequent(own)
                where = f"all {failed:,} rejected, first {several[0].location()}"
                raise self._error(f"{source}: {where}: {_describe(several)}", several, "mend the data or the spec")
        failed, total = self._failed.total(), self._seen.total()
        if failed > max_bad * total:
            several, often = _most_frequent([reject for reject in self._rejects if not reject.kept])
            share = f"({failed / max(total, 1):.2%}, allowed {max_bad:.2%})"
            raise self._error(
                f"{failed:,} of {total:,} rows and values rejected {share}; most often ({often:,}) "
                f"{_describe(several)}, first {several[0].location()}",
                several,
                "mend the data or raise --max-bad",
            )

    def none_usable(self, files: Iterable[str], problem: str, feature: str | None = None) -> DataError:
        """Return the error for tables of which nothing can be used: the most frequent reason, with values and place.

        Args:
          files: of the tables.
          problem: what is wrong.
          feature: the feature of which no value can be used; None: no row can.
        """
        files = set(files)
        own = [
            reject
            for reject in self._rejects
            if (reject.file in files, reject.feature, reject.kept) == (True, feature, None)
        ]
        if not own:
            return DataError(problem)
        several, often = _most_frequent(own)
        rejected = f"{len(own):,} {'values' if feature else 'rows'} rejected" + (
            "" if often == len(own) else f", most often ({often:,})"
        )
        where = f"{_describe(several)}, first {several[0].location()}"
        return self._error(f"{problem}; {rejected}: {where}", several, "mend the data or the spec")

    def _error(self, problem: str, several: Sequence[Reject], remedy: str) -> TooManyRejectsError:
        explain = self.explanations.get(several[0].reason)
        own = next((reject.remedy for reject in several if reject.remedy), None)
        parts = [problem, *([explain()] if explain else []), own or remedy]
        return TooManyRejectsError("; ".join(parts), self.listing())

    def listing(self) -> str:
        """Return the content of `rejected.jsonl`: one object per line, in the order found."""
        return "".join(f"{reject.line_of_json()}\n" for reject in self._rejects)

    def write(self, folder: Path) -> Path:
        """Write `rejected.jsonl`; empty where nothing was rejected."""
        path = folder / REJECTED_FILE
        path.write_text(self.listing(), encoding="utf-8")
        return path


@contextmanager
def listed_beside(out: Path) -> Iterator[None]:
    """Keep the list of rejects beside `out` where a build ends with too many; remove that of an earlier build if it succeeds.

    Raises:
      TooManyRejectsError: as it came, with the path of the list.
    """
    path = out.with_name(f"{out.name}.{REJECTED_FILE}")
    try:
        yield
    except TooManyRejectsError as error:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(error.listing, encoding="utf-8")
        raise TooManyRejectsError(f"{error}; each one is in {path}", error.listing) from error
    path.unlink(missing_ok=True)


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items(), key=lambda pair: (-pair[1], pair[0])))


def source_of(reject: Reject) -> str:
    """Return the name of the table or feature that a reject belongs to, as of `Rejects.seen`."""
    return f"{reject.file} {reject.feature}" if reject.feature else reject.file


def _most_frequent(rejects: Sequence[Reject]) -> tuple[list[Reject], int]:
    """Return the rejects of the most frequent reason, and their number."""
    reason, count = Counter(reject.reason for reject in rejects).most_common(1)[0]
    return [reject for reject in rejects if reject.reason == reason], count


def _describe(rejects: Sequence[Reject]) -> str:
    """Describe rejects of one reason, with some of the values."""
    details = [*dict.fromkeys(reject.detail for reject in rejects if reject.detail)][:_SHOWN]
    if not details:
        return rejects[0].reason
    first, subject = details[0], details[0].partition(" is ")[0] + " is "  # `item_id is 'x'`
    values = [detail.removeprefix(subject) for detail in details[1:]]
    return f"{rejects[0].reason} ({', '.join([first, *values])})"
