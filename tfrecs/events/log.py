"""Reads the log, part by part, into clean events in the order of the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tfrecs.build.interactions import UNKNOWN_ITEM, EventCleaner, NotNumbersError, interaction_columns
from tfrecs.errors import TooManyRejectsError
from tfrecs.events.spool import Columns, Scratch, Spool, row_count
from tfrecs.rejects import Rejects
from tfrecs.spec.models import DatasetSpec
from tfrecs.tables.ids import KnownIds, look
from tfrecs.tables.streams import Report
from tfrecs.tables.table import read_parts


@dataclass(frozen=True)
class EventLog:
    """Clean events in the order of the file, with the columns of `EventCleaner`.

    Attributes:
      spool: the events; `user` is a code.
      user_ids: of the users who have events, ascending.
      user_of: code -> position in `user_ids`, -1 for those without events, int32.
      user_rows: number of events of each user of `user_ids`, int64.
      item_ids: the catalogue.
      texts: context column -> its texts, where it has categories.
      files: names of the files, of which `file` (int16) says the one of each event where it was asked for.
    """

    spool: Spool
    user_ids: Sequence[str]
    user_of: np.ndarray
    user_rows: np.ndarray
    item_ids: Sequence[str]
    texts: Mapping[str, Sequence[str]]
    files: Sequence[str] = ()

    def batches(self) -> Iterator[Columns]:
        """Yield the events, `user` as position in `user_ids`."""
        for columns in self.spool:
            yield {**columns, "user": self.user_of[columns["user"]]}

    def __len__(self) -> int:
        return self.spool.rows


def read_log(
    data: Path,
    spec: DatasetSpec,
    item_ids: Sequence[str],
    user_ids: Collection[str],
    rejects: Rejects,
    scratch: Scratch,
    *,
    report: Report = lambda done, total: None,
    kinds: Mapping[str, str] | None = None,
    with_files: bool = False,
    may_be_empty: bool = False,
) -> EventLog:
    """Read the usable events; the others go to `rejects`, each with its first fault.

    Args:
      data: the data folder.
      spec: of the data set.
      item_ids: the catalogue; ids that differ in form only are taken for these.
      user_ids: of users that have features; other users are users too.
      rejects: takes events that cannot be used.
      scratch: where events go that the memory does not hold.
      report: called with the bytes read so far, and those of all files.
      kinds: context column -> "number" or "categories", where existing records decide it; otherwise the values do.
      with_files: whether the events have a column `file`.
      may_be_empty: whether a log without a usable event is none to refuse.

    Raises:
      DataError: the table or a column does not exist, the table is empty, or the disk is full.
      TooManyRejectsError: not one usable event; of a long log, among as many as the memory holds.
    """
    catalogue, known_users, kinds = KnownIds(item_ids), KnownIds(user_ids), dict(kinds or {})
    while True:
        try:
            return _read(data, spec, catalogue, known_users, rejects, scratch, report, kinds, with_files, may_be_empty)
        except NotNumbersError as error:
            kinds[error.column] = "categories"


def _read(
    data: Path,
    spec: DatasetSpec,
    catalogue: KnownIds,
    known_users: KnownIds,
    rejects: Rejects,
    scratch: Scratch,
    report: Report,
    kinds: Mapping[str, str],
    with_files: bool,
    may_be_empty: bool,
) -> EventLog:
    source = spec.interactions
    spool, cleaner, read = Spool(scratch), EventCleaner(spec, catalogue, kinds), Rejects()
    rows_of_user = np.zeros(0, np.int64)
    files: dict[str, int] = {}
    try:
        for table in read_parts(
            data, source.file, interaction_columns(spec), read, source.encoding, source.quoting, report=report
        ):
            if not len(table):
                continue
            columns = cleaner.clean(table)
            code = files.setdefault(str(table.files[0]), len(files))
            if with_files:
                columns["file"] = np.full(row_count(columns), code, np.int16)
            counts = np.bincount(columns["user"], minlength=len(rows_of_user))
            counts[: len(rows_of_user)] += rows_of_user
            rows_of_user = counts
            spool.append(columns)
            if not cleaner.usable and not may_be_empty and len(cleaner.faults) >= scratch.limit:
                break  # A mistake in the spec, not in the rows; their list would outgrow the memory.
        names = cleaner.finish(source.file, known_users, read)
    except TooManyRejectsError as error:  # Of the reading alone; the list is to have what came before.
        raise TooManyRejectsError(str(error), rejects.listing() + error.listing) from error
    except BaseException:
        spool.close()
        raise
    for part in (read, cleaner.faults, cleaner.queries):
        rejects.extend(part.seen_counts(), part)
    for line in read.notes:
        rejects.note(line)
    rejects.explain(UNKNOWN_ITEM, lambda: look(catalogue.ids))
    if not cleaner.usable and not may_be_empty:
        raise rejects.none_usable(files, f"{source.file}: {cleaner.nothing_usable()}")
    rows_of_user = np.append(rows_of_user, np.zeros(len(cleaner.users.texts) - len(rows_of_user), np.int64))
    ids = np.array([names.get(text, text) for text in cleaner.users.texts], object)
    present = np.flatnonzero(rows_of_user)
    user_of = np.full(len(ids), -1, np.int32)
    user_of[present], distinct = pd.factorize(ids[present], sort=True)
    user_rows = np.bincount(user_of[present], rows_of_user[present], minlength=len(distinct)).astype(np.int64)
    texts = {name: column.texts for name, column in cleaner.categories.items()}
    return EventLog(spool, distinct.tolist(), user_of, user_rows, catalogue.ids, texts, list(files))
