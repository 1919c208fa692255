"""From a data folder and its spec to records: the whole of it, or nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.catalogue import Entities, media_path, read_entities
from tfrecs.encoding import encoder
from tfrecs.errors import DataError
from tfrecs.events import Events, arrange, example_columns, protocol, split_facts, train_counts
from tfrecs.interactions import clean_events, context_schemas, interaction_columns, label_schemas, mean_and_std
from tfrecs.records import shard_ranges
from tfrecs.rejects import Rejects
from tfrecs.schema import (
    MANIFEST_FILE,
    REJECTED_FILE,
    VOCABULARY_FILE,
    Addition,
    Manifest,
    Schema,
    ShardInfo,
    SplitInfo,
)
from tfrecs.shards import ItemShard, Payloads, versions, window_shard
from tfrecs.spec_models import DatasetSpec
from tfrecs.tables import read_table
from tfrecs.windows import Window, plan_windows
from tfrecs.workplace import FinishedShard, Workplace, replace_folder, workplace

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first record is written.

    Attributes:
      spec: what is where in the data folder.
      items: in the order of their table.
      users: those that have features, None where the data set has none.
      events: clean, sorted and split.
      windows: split -> its user windows.
      schema: of the records.
      oracle: the true preferences of generated data, or None.
    """

    spec: DatasetSpec
    items: Entities
    users: Entities | None
    events: Events
    windows: Mapping[str, Sequence[Window]]
    schema: Schema
    oracle: Path | None

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Example key -> array over all events."""
        return example_columns(self.events, value_mean=self.schema.value_mean)


def build(
    spec: DatasetSpec,
    data: Path,
    out: Path,
    *,
    seed: int,
    max_bad: float,
    window: int,
    overlap: int,
    items_per_shard: int,
    examples_per_shard: int,
    kind_options: Mapping[str, Mapping[str, Any]],
    train_vocabulary: Callable[[Iterable[str]], list[str]] | None,
    vocabulary_file: Path | None,
    workers: int,
    processes_from: int,
    progress: Progress | None,
) -> Manifest:
    """Builds the records of a data folder.

    Everything is written to a hidden folder beside `out` that takes its place when it is whole; whatever ends the
    build earlier leaves `out` as it was. Same input, spec and seed: byte-identical files, for any number of workers.

    After a mistake in the data nothing is left of the hidden folder. After a kill it stays, and the next build to `out`
    keeps each of its shards that is whole and that it would itself make of the same things.

    Args:
      spec: what is where in `data`.
      data: the data folder; never written to.
      out: the records. Replaced if it already holds records, refused if it holds anything else.
      seed: chooses the cold items.
      max_bad: share of rows and values, in [0, 1], above which rejects end the build.
      window: most events in a training Example.
      overlap: events that a user's next training Example repeats as history.
      items_per_shard: items in one file.
      examples_per_shard: user windows in one file.
      kind_options: kind -> its options where the spec gives none.
      train_vocabulary: texts of all items and users -> WordPiece vocabulary, one token each.
      vocabulary_file: a vocabulary to take instead.
      workers: processes or threads that encode.
      processes_from: items from which on they are processes, which take seconds to start, and not threads.
      progress: called with (stage, done, total); the first word of a stage says what an earlier build has done.

    Raises:
      DataError: a table, column or file that must be there is not, or nothing is left to learn from.
      SpecError: an option of a kind is not understood.
      TooManyRejectsError: more than `max_bad` was rejected.
    """
    tell = progress or (lambda stage, done, total: None)
    out = Path(os.path.abspath(out))
    check_out(out)
    rejects = Rejects()
    tell("read", 0, 1)
    check_vocabulary(vocabulary_file)
    plan = make_plan(spec, data, seed=seed, window=window, overlap=overlap, kind_options=kind_options, rejects=rejects)
    tell("read", 1, 1)
    with workplace(out) as place:
        write_vocabulary(place.records, plan, train_vocabulary, vocabulary_file, tell)
        processes = len(plan.items.ids) >= processes_from
        items = make_items(place, item_shards(plan.items, "items", items_per_shard), workers, processes, rejects, tell)
        payloads = UserPayloads(plan.users, workers, rejects)
        splits = {
            split: make_windows(place, split, plan.events, windows, plan.columns, payloads, examples_per_shard, tell)
            for split, windows in plan.windows.items()
        }
        manifest = complete(place.records, plan, items, splits, rejects, seed=seed, max_bad=max_bad)
        place.keep_only(files_of(manifest))
        replace_folder(out, place.records)
    return manifest


def make_plan(
    spec: DatasetSpec,
    data: Path,
    *,
    seed: int,
    window: int,
    overlap: int,
    kind_options: Mapping[str, Mapping[str, Any]],
    rejects: Rejects,
) -> Plan:
    """Reads the tables and decides what goes where; media files are not opened. Arguments and errors: see `build`."""
    oracle = media_path(data, spec.oracle) if spec.oracle else None
    items = read_entities(
        data, "item", spec.items.file, spec.items.id, spec.items.title, spec.items.features, kind_options, rejects
    )
    users = None
    if spec.users:
        users = read_entities(
            data, "user", spec.users.file, spec.users.id, None, spec.users.features, kind_options, rejects
        )
    table = read_table(data, spec.interactions.file, interaction_columns(spec), rejects)
    events = arrange(clean_events(table, spec, items.ids, rejects), spec, items.ids, seed)
    planned = plan_windows(events.users, events.frame["split"].to_numpy(), window=window, overlap=overlap)
    return Plan(spec, items, users, events, planned, _schema(spec, items, users, events), oracle)


def _schema(spec: DatasetSpec, items: Entities, users: Entities | None, events: Events) -> Schema:
    source = spec.interactions
    mean, std = mean_and_std(events.train["value"].to_numpy())
    return Schema(
        items=items.schemas,
        users=users.schemas if users else (),
        labels=label_schemas(source),
        context=context_schemas(events.train, source),
        value_mean=mean,
        value_std=std,
        has_time=source.time is not None,
        ordered=source.time is not None or source.order is not None,
    )


def check_out(out: Path) -> None:
    """Raises DataError where records may not be written to `out`."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; name a folder for the records")
    if out.is_dir() and any(out.iterdir()) and not _is_manifest(out / MANIFEST_FILE):
        raise DataError(f"{out}: holds something else than records, will not overwrite it; name another folder")


def _is_manifest(path: Path) -> bool:
    """Of any version of ours: older records may be built anew."""
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and {"format_version", "item_shards", "splits"} <= said.keys()


def check_vocabulary(file: Path | None) -> None:
    """Raises DataError where the vocabulary that was named is not there."""
    if file is not None and not file.is_file():
        raise DataError(f"{file}: no such vocabulary file")


def write_vocabulary(
    folder: Path,
    plan: Plan,
    train: Callable[[Iterable[str]], list[str]] | None,
    given: Path | None,
    tell: Progress,
) -> None:
    """Writes `vocab.txt`: the one given, or one trained on all texts; none where there is nothing to train."""
    (folder / VOCABULARY_FILE).unlink(missing_ok=True)
    if given is not None:
        shutil.copyfile(given, folder / VOCABULARY_FILE)
        return
    texts = [text for part in (plan.items, plan.users) if part for text in _texts(part)]
    if train is None or not texts:
        return
    tell("vocabulary", 0, len(texts))
    tokens = train(texts)
    (folder / VOCABULARY_FILE).write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    tell("vocabulary", len(texts), len(texts))


def _texts(entities: Entities) -> Iterator[str]:
    """What the vocabulary is made of: the features of which a value is one string, as they are encoded."""
    for feature in entities.features:
        if feature.spec.dtype == tf.string and feature.spec.shape.rank == 0:
            for value in entities.values[feature.name]:
                try:
                    payload = feature.encode(value)
                except DataError:  # Not swallowed: the value is rejected, by name, when its item is written.
                    continue
                yield from (text.decode() for text in payload.bytes_list.value)


def item_shards(items: Entities, prefix: str, per_shard: int) -> list[ItemShard]:
    """All shards of the catalogue, in order; raw values are shared, not copied."""
    return [ItemShard(name, items.part(rows)) for name, rows in shard_ranges(prefix, len(items.ids), per_shard)]


def make_items(
    place: Workplace, shards: Sequence[ItemShard], workers: int, processes: bool, rejects: Rejects, tell: Progress
) -> list[FinishedShard]:
    """Makes the shards that an earlier build has not finished; rejects are in the order of the items either way."""
    total = sum(len(shard.items.ids) for shard in shards)
    keys = [shard.key() for shard in shards]
    found = [place.finished(shard.name, key) for shard, key in zip(shards, keys, strict=True)]
    done = sum(one.info.records for one in found if one)
    tell("items", done, total)
    with ExitStack() as stack:

        def counted(items: Entities, local: Rejects) -> Iterator[dict[str, tf.train.Feature]]:
            nonlocal done
            for payloads in encode(items, local):
                done += 1
                tell("items", done, total)
                yield payloads

        if not all(found):  # Else no process is started.
            encode = stack.enter_context(encoder(shards[0].items.features, workers=workers, processes=processes))
        finished = [
            kept or place.finish(shard.make(place.records, key, counted))
            for shard, key, kept in zip(shards, keys, found, strict=True)
        ]
    for one in finished:
        rejects.extend(one.seen, one.rejects)
    return finished


class UserPayloads:
    """User id -> payload of each user feature; that of a missing one for users that have no row."""

    def __init__(self, users: Entities | None, workers: int, rejects: Rejects):
        self._known: dict[str, Payloads] = {}
        self._unknown: Payloads = {}
        if users:
            self._unknown = {feature.name: feature.encode(None) for feature in users.features}
            with encoder(users.features, workers=workers, processes=False) as encode:
                self._known.update(zip(users.ids, encode(users, rejects), strict=True))

    def __getitem__(self, user_id: str) -> Payloads:
        return self._known.get(user_id, self._unknown)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._known


def make_windows(
    place: Workplace,
    prefix: str,
    events: Events,
    windows: Sequence[Window],
    columns: Mapping[str, np.ndarray],
    payloads: UserPayloads,
    per_shard: int,
    tell: Progress,
) -> list[ShardInfo]:
    """Makes the shards of one split that an earlier build has not finished."""
    infos = []
    for name, rows in shard_ranges(prefix, len(windows), per_shard):
        several = windows[rows.start : rows.stop]
        users = [payloads[events.user_ids[window.user]] for window in several]
        shard = window_shard(name, several, events.user_ids, columns, users)
        key = shard.key()
        infos.append((place.finished(name, key) or place.finish(shard.make(place.records, key))).info)
        tell(prefix, rows.stop, len(windows))
    return infos


def complete(
    folder: Path,
    plan: Plan,
    items: Sequence[FinishedShard],
    splits: Mapping[str, Sequence[ShardInfo]],
    rejects: Rejects,
    *,
    seed: int,
    max_bad: float,
) -> Manifest:
    """Writes everything but the shards and the vocabulary, once these are there.

    Raises:
      TooManyRejectsError: more than `max_bad` was rejected.
    """
    events, total = plan.events, len(plan.items.ids)
    rejects.enforce(max_bad)
    rejects.write(folder)
    if plan.oracle:
        shutil.copyfile(plan.oracle, folder / plan.oracle.name)
    present = Counter[str]()
    for shard in items:
        present.update(shard.present)
    infos = {
        split: SplitInfo(
            shards=tuple(shards),
            **split_facts(events, split, plan.windows[split], has_time=plan.schema.has_time),
        )
        for split, shards in splits.items()
    }
    manifest = Manifest(
        name=plan.spec.name,
        seed=seed,
        schema_=plan.schema,
        item_shards=tuple(shard.info for shard in items),
        items=total,
        users=len(events.user_ids),
        interactions=len(events.frame),
        coverage={feature.name: present[feature.name] / total for feature in plan.items.features},
        splits=infos,
        train_counts=train_counts(events),
        cold_items=len(set(plan.items.ids) - set(events.train["item"])),
        rejected=rejects.counts(),
        versions=versions(),
        protocol=protocol(events, plan.spec),
        oracle=plan.oracle.name if plan.oracle else None,
        history=(
            Addition(
                action="build",
                items=total,
                users=len(events.user_ids),
                events={split: info.events for split, info in infos.items()},
                versions=versions(),
            ),
        ),
    )
    manifest.save(folder)
    return manifest


def files_of(manifest: Manifest) -> set[str]:
    """Names of all files of a folder of records."""
    shards = [*manifest.item_shards, *(shard for split in manifest.splits.values() for shard in split.shards)]
    names = {shard.name for shard in shards} | {MANIFEST_FILE, REJECTED_FILE, VOCABULARY_FILE}
    return names | ({manifest.oracle} if manifest.oracle else set())
