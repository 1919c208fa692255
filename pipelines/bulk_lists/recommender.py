"""`triptych recommend`: lists for all users, or given ones, through an export, as a file."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.bulk_lists.given_histories import of_file
from pipelines.bulk_lists.lister import Lister, ListOptions
from pipelines.bulk_lists.parts import Counts, Parts, digest, format_of
from pipelines.bulk_lists.requested import checked, notes, selected
from pipelines.bulk_lists.selection import Selection, shard_path
from pipelines.bulk_lists.sources import of_log, of_records
from pipelines.config import Config
from pipelines.config.running import RecommendConfig
from pipelines.runs.progress import Advance, progress, say
from serving.wire import layout
from tfrecs.build.beam import beam_runner, run_with_beam, unseen
from tfrecs.errors import DataError, SpecError
from tfrecs.reading.known_events import KnownEvents
from tfrecs.schema import Manifest

_MOST_RESULTS = 1 << 20  # of a part, which is in memory


@dataclass(frozen=True)
class RecommendJob:
    """Lists to make.

    Attributes:
      model: folder of the exported model, whose newest version is used.
      out: the file; of a shard, see `pipelines.bulk_lists.selection.shard_path`.
      config: its sections `recommend` and `build` are read.
      options: what is asked for all users; `now` 0: the time of the newest event.
      records, events, histories: where the histories come from: records, a folder with a log of events, or a file of
        histories; one of them.
      spec: a dataset.yaml for `events` elsewhere.
      selection: which users get a list.
      new_users: whether given users without any event there get one too, that of a new user.
      until: unix seconds; later events do not count. None: all do.
      runner: a Beam runner that makes the parts; None: this process makes them.
      runner_options: options of the runner.
    """

    model: Path
    out: Path
    config: Config
    options: ListOptions
    records: Path | None = None
    events: Path | None = None
    histories: Path | None = None
    spec: Path | None = None
    selection: Selection = field(default_factory=Selection)
    new_users: bool = False
    until: int | None = None
    runner: str | None = None
    runner_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecommendResult:
    """The file, the users of whom lists were asked, and what came out."""

    out: Path
    users: int
    counts: Counts


def run(job: RecommendJob) -> RecommendResult:
    """Make the lists; a run that was killed goes on behind the parts that it finished.

    Raises:
      TriptychError: one line that names the thing and the remedy.
    """
    format_of(job.out)
    runner = None if job.runner is None else beam_runner(job.runner)
    version = layout.latest_version(job.model)
    if not version:
        raise DataError(f"{job.model}: no exported model there; export one (triptych export --to {job.model})")
    say(f"Loading {job.model / str(version)}.")
    lister = opened(job.model, version)
    out = shard_path(job.out, job.selection.shard)
    options = checked(lister, job.options)
    users, newest, source = _read(job, lister, out)
    if job.until is not None:
        users = users.before(job.until)
    options = replace(options, now=options.now or job.until or newest)
    users = selected(users, job.selection, source, new_users=job.new_users)
    for line in notes(lister, users, options):
        say(f"  {line}")
    moment = (
        datetime.fromtimestamp(options.now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC") if options.now else "unknown"
    )
    given = "--now" if job.options.now else "--until" if job.until is not None else "the newest event"
    say(
        f"Lists of {options.k:,} for {len(users):,} users by {lister.folder}: all their {len(users.items):,} events of {source}"
        f"{'' if job.until is None else ' before --until'}; the time is {moment}{f' ({given})' if options.now else ''}."
    )
    return make_lists(job, lister, users, options, out, runner)


def make_lists(
    job: RecommendJob, lister: Lister, users: KnownEvents, options: ListOptions, out: Path, runner: Any = None
) -> RecommendResult:
    """Make the lists of users whose events are in memory.

    Args:
      job: its model, config and options of a runner are read.
      lister: the export.
      users: who gets a list.
      options: what is asked for.
      out: the file.
      runner: a Beam runner; None: this process makes the lists.

    Raises:
      DataError: the export refuses the requests, or the file cannot be written.
    """
    settings = job.config.recommend
    size = min(settings.part, max(1, _MOST_RESULTS // options.k))
    ranges = [np.arange(start, min(start + size, len(users))) for start in range(0, len(users), size)]
    parts = Parts(out, len(ranges), lister.schema(options.explain), options.k)
    with parts.open(_key(lister, users, options, settings, size)) as other:
        if other:
            say(f"  {parts.folder}: of another export, other users or other options; begun anew")
        missing = parts.missing()
        left = sum(len(ranges[number]) for number in missing)
        if left < len(users):
            say(f"  {parts.count - len(missing):,} of {parts.count:,} parts are finished already")
        begun = time.monotonic()
        if runner is not None:
            tasks = {number: users.take(ranges[number]).only_named_items() for number in missing}
            _with_beam(_Work(job.model, lister.version, parts, options, settings), tasks, runner, job.runner_options)
        else:
            with progress("recommend", "users", len(users) - left) as advance:
                done = len(users) - left
                advance(done, len(users))  # starts the clock
                for number in missing:
                    step = partial(_advance, advance, done, len(users))
                    parts.write(number, lister.lists(users.take(ranges[number]), options, settings, step))
                    done += len(ranges[number])
        seconds = time.monotonic() - begun
        counts = parts.join()
    facts = [f"{counts.lists:,} lists, {counts.rows:,} rows"]
    facts += [f"{left / seconds:,.0f} users/s"] if left else []
    facts += (
        [f"{len(users) - counts.lists:,} users got none, as no item is left for them"]
        if counts.lists < len(users)
        else []
    )
    facts += [f"{counts.short:,} are shorter than {options.k:,}, as no more items are left"] if counts.short else []
    say(f"{out}: {'; '.join(facts)}.")
    return RecommendResult(out, len(users), counts)


def _advance(advance: Advance, before: int, total: int, done: int) -> None:
    advance(before + done, total)


@lru_cache(maxsize=1)
def opened(model: Path, version: int) -> Lister:
    """Load an export, once in a process: a Beam worker makes many parts."""
    return Lister(model, version)


def _read(job: RecommendJob, lister: Lister, out: Path) -> tuple[KnownEvents, int, Path]:
    """Return users with their events, of records those of the selection alone; the time of the newest event; the source."""
    sources = [path for path in (job.records, job.events, job.histories) if path is not None]
    if len(sources) != 1:
        raise SpecError("give one of --records, --events and --histories: histories come from one place")
    if job.records is not None:
        last = [split.last_time or 0 for split in Manifest.load(job.records).splits.values()]
        return of_records(job.records, job.selection), max(last), sources[0]
    if job.events is not None:
        users = of_log(job.events, job.spec, job.config, lister.folder, out)
    else:
        users = of_file(sources[0], lister.specs)
    return users, int(users.times.max(initial=0)), sources[0]


def _key(lister: Lister, users: KnownEvents, options: ListOptions, settings: RecommendConfig, size: int) -> str:
    """Tell apart jobs whose parts do not belong together."""
    return digest(
        lister.fingerprint(),
        asdict(options),
        [settings.batch_size, settings.scores, size],
        list(users.user_ids),
        *(values.tobytes() for values in (users.starts, users.items, users.values, users.times)),
        [item.decode() for item in users.item_ids.tolist()],
        *(part for name in sorted(users.inputs) for part in (name, pickle.dumps(users.inputs[name].tolist()))),
    )


@dataclass(frozen=True)
class _Work:
    """What a Beam worker needs to make any part."""

    model: Path
    version: int
    parts: Parts
    options: ListOptions
    settings: RecommendConfig


def _with_beam(work: _Work, tasks: Mapping[int, KnownEvents], runner: Any, runner_options: Sequence[str]) -> None:
    """Make the parts on the workers of a runner. Raises DataError where this process cannot see them afterwards."""
    # Absolute: workers have folders of their own. One thread, as each worker has others beside it.
    parts = Parts(Path(os.path.abspath(work.parts.out)), work.parts.count, work.parts.schema, work.options.k)
    settings = work.settings.model_copy(update={"threads": 1})
    work = replace(work, model=Path(os.path.abspath(work.model)), parts=parts, settings=settings)
    folder = parts.folder / "tasks"
    folder.mkdir(exist_ok=True)
    (folder / "work").write_bytes(pickle.dumps(work))
    for number, users in tasks.items():
        (folder / str(number)).write_bytes(pickle.dumps(users))
    run_with_beam(partial(make_part, str(folder)), [str(number) for number in tasks], runner, runner_options)
    missing = parts.missing()
    if missing:
        raise unseen(parts.path(missing[0]))


def make_part(folder: str, name: str) -> str:
    """Make one part; runs on a Beam worker, which must see the export and the folder of the lists under the same paths."""
    work: _Work = pickle.loads((Path(folder) / "work").read_bytes())
    users: KnownEvents = pickle.loads((Path(folder) / name).read_bytes())
    work.parts.write(int(name), opened(work.model, work.version).lists(users, work.options, work.settings))
    return name
