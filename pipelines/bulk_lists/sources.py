"""Where the histories of users come from: records, or a log of events. A file of histories is read in `given_histories`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.building.builder import read_spec, scratch_of
from pipelines.bulk_lists.selection import Selection
from pipelines.config import Config
from pipelines.runs.progress import progress, say
from serving.wire import layout
from tfrecs.errors import DataError
from tfrecs.events.arranged import sorted_events
from tfrecs.events.log import read_log
from tfrecs.events.spool import joined
from tfrecs.reading.known_events import KnownEvents, by_user, known_events
from tfrecs.rejects import Rejects
from tfrecs.schema import Manifest


def of_records(records: Path, selection: Selection) -> KnownEvents:
    """Read every event of all splits, and the features of the users. Raises DataError."""
    manifest = Manifest.load(records)
    given = None if selection.given is None else frozenset(selection.given)

    def keep(user: str) -> bool:
        return selection.in_shard(user) if given is None else user in given

    with progress("read", "windows") as advance:
        return known_events(records, manifest, keep, advance)


def of_log(data: Path, spec_file: Path | None, config: Config, export: Path, out: Path) -> KnownEvents:
    """Read a log of events as a build does, all users of it; features of users are not in a log.

    Args:
      data: a data folder, or the app's folder of events.
      spec_file: a dataset.yaml elsewhere.
      config: its section `build` says when events leave the memory.
      export: folder of the export, whose items are the catalogue; events of others are left out.
      out: beside which events go that the memory does not hold.

    Raises:
      TriptychError: the log cannot be read, or the export does not list its items.
    """
    facts = layout.item_facts(export)
    if facts is None:
        raise DataError(f"{export}: does not list its items, which tell an event's item; export it again")
    # Neither splits nor what a request of today does not have.
    spec = read_spec(data, spec_file)
    events = spec.interactions.model_copy(update={"context": (), "query": None})
    spec = spec.model_copy(update={"split": None, "interactions": events})
    rejects = Rejects()
    with progress("read", "bytes") as advance:
        log = read_log(data, spec, facts.ids.tolist(), (), rejects, scratch_of(config.build, out), report=advance)
    for note in rejects.notes:
        say(f"  {note}")
    if len(rejects):
        say(f"  {spec.interactions.file}: {rejects.summary()}; first {next(iter(rejects)).location()}")
    columns = joined([*log.batches()])
    log.spool.close()
    columns = sorted_events(columns, spec)
    count = len(columns["user"])
    item_ids = np.empty(len(facts.ids), object)
    item_ids[:] = [item.encode() for item in facts.ids.tolist()]
    times = columns.get("time", np.zeros(count, np.int64))
    values = columns.get("value", np.ones(count))
    return by_user(log.user_ids, columns["user"], columns["item"], values, times, item_ids, inputs={})
