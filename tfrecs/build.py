"""From a data folder and its spec to records: the whole of it, or nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrecs.catalogue import Entities, encode_all, media_path, read_entities
from tfrecs.errors import DataError
from tfrecs.events import Events, arrange, example_columns, protocol, split_facts, train_counts
from tfrecs.interactions import clean_events, context_schemas, interaction_columns, label_schemas, mean_and_std
from tfrecs.records import ShardWriter, is_missing, item_example, window_example
from tfrecs.rejects import Rejects
from tfrecs.schema import MANIFEST_FILE, VOCABULARY_FILE, Manifest, Schema, ShardInfo, SplitInfo
from tfrecs.spec_models import DatasetSpec
from tfrecs.tables import read_table
from tfrecs.version import VERSION
from tfrecs.windows import Window, plan_windows

Progress = Callable[[str, int, int], None]
_TELL_EVERY = 64  # Records between two words of progress.


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
    progress: Progress | None,
) -> Manifest:
    """Builds the records of a data folder.

    Everything is written to a folder beside `out` and renamed when it is whole; whatever ends the build earlier
    leaves `out` as it was. Same input, spec and seed: byte-identical files, for any number of workers.

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
      workers: threads that encode.
      progress: called with (stage, done, total).

    Raises:
      DataError: a table, column or file that must be there is not, or nothing is left to learn from.
      SpecError: an option of a kind is not understood.
      TooManyRejectsError: more than `max_bad` was rejected.
    """
    tell = progress or (lambda stage, done, total: None)
    out = Path(os.path.abspath(out))
    _check_out(out)
    rejects = Rejects()
    tell("read", 0, 1)
    oracle = media_path(data, spec.oracle) if spec.oracle else None
    if vocabulary_file is not None and not vocabulary_file.is_file():
        raise DataError(f"{vocabulary_file}: no such vocabulary file")
    items = read_entities(data, "item", spec.items, spec.items.title, kind_options, rejects)
    users = read_entities(data, "user", spec.users, None, kind_options, rejects) if spec.users else None
    events = _read_events(spec, data, items, rejects, seed)
    schema = _schema(spec, items, users, events)
    planned = plan_windows(events.users, events.frame["split"].to_numpy(), window=window, overlap=overlap)
    tell("read", 1, 1)
    with _whole_or_nothing(out) as folder:
        _write_vocabulary(folder, [part for part in (items, users) if part], train_vocabulary, vocabulary_file, tell)
        item_shards, coverage = _write_items(folder, items, items_per_shard, workers, rejects, tell)
        payloads = _UserPayloads(users, workers, rejects)
        columns = example_columns(events, value_mean=schema.value_mean)
        splits = _write_windows(folder, events, planned, columns, payloads, schema.has_time, examples_per_shard, tell)
        rejects.enforce(max_bad)
        rejects.write(folder)
        if oracle:
            shutil.copyfile(oracle, folder / oracle.name)
        manifest = Manifest(
            name=spec.name,
            seed=seed,
            schema_=schema,
            item_shards=item_shards,
            items=len(items.ids),
            users=len(events.user_ids),
            interactions=len(events.frame),
            coverage=coverage,
            splits=splits,
            train_counts=train_counts(events),
            cold_items=len(set(items.ids) - set(events.train["item"])),
            rejected=rejects.counts(),
            used_in_part=rejects.kept_counts(),
            versions=_versions(),
            protocol=protocol(events, spec),
            oracle=oracle.name if oracle else None,
        )
        manifest.save(folder)
    return manifest


def _read_events(spec: DatasetSpec, data: Path, items: Entities, rejects: Rejects, seed: int) -> Events:
    table = read_table(data, spec.interactions.file, interaction_columns(spec), rejects, spec.interactions.encoding)
    return arrange(clean_events(table, spec, items.ids, rejects), spec, items.ids, seed)


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


@contextmanager
def _whole_or_nothing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place if the block ends well, and is gone if it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (out.parent / f".{out.name}.{word}" for word in ("partial", "former"))
    for left in (partial, former):  # Of a build that was killed.
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if out.exists():
            out.rename(former)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if former.exists() and not out.exists():
            former.rename(out)
        shutil.rmtree(former, ignore_errors=True)


def _check_out(out: Path) -> None:
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


def _write_vocabulary(
    folder: Path,
    entities: list[Entities],
    train: Callable[[Iterable[str]], list[str]] | None,
    given: Path | None,
    tell: Progress,
) -> None:
    if given is not None:
        shutil.copyfile(given, folder / VOCABULARY_FILE)
        return
    texts = [text for part in entities for text in _texts(part)]
    if train is None or not texts:
        return
    tell("vocabulary", 0, len(texts))
    tokens = train(texts)
    (folder / VOCABULARY_FILE).write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    tell("vocabulary", len(texts), len(texts))


def _write_items(
    folder: Path, items: Entities, per_shard: int, workers: int, rejects: Rejects, tell: Progress
) -> tuple[tuple[ShardInfo, ...], dict[str, float]]:
    total = len(items.ids)
    present: Counter[str] = Counter()
    with ShardWriter(folder, "items", total=total, per_shard=per_shard) as writer:
        for position, payloads in encode_all(items, workers=workers, rejects=rejects):
            present.update(name for name, payload in payloads.items() if not is_missing(payload))
            writer.write(item_example(items.ids[position], items.titles[position], payloads))
            if (position + 1) % _TELL_EVERY == 0 or position + 1 == total:
                tell("items", position + 1, total)
    return writer.shards, {feature.name: present[feature.name] / total for feature in items.features}


class _UserPayloads:
    """User id -> payload of each user feature; that of a missing one for users that have no row."""

    def __init__(self, users: Entities | None, workers: int, rejects: Rejects):
        self._known: dict[str, dict[str, tf.train.Feature]] = {}
        self._unknown: dict[str, tf.train.Feature] = {}
        if users:
            self._unknown = {feature.name: feature.encode(None) for feature in users.features}
            for position, payloads in encode_all(users, workers=workers, rejects=rejects):
                self._known[users.ids[position]] = payloads

    def __getitem__(self, user_id: str) -> Mapping[str, tf.train.Feature]:
        return self._known.get(user_id, self._unknown)


def _write_windows(
    folder: Path,
    events: Events,
    planned: Mapping[str, list[Window]],
    columns: Mapping[str, np.ndarray],
    payloads: _UserPayloads,
    has_time: bool,
    per_shard: int,
    tell: Progress,
) -> dict[str, SplitInfo]:
    splits: dict[str, SplitInfo] = {}
    for split, windows in planned.items():
        with ShardWriter(folder, split, total=len(windows), per_shard=per_shard) as writer:
            for number, window in enumerate(windows, start=1):
                user_id = events.user_ids[window.user]
                writer.write(window_example(user_id, window, columns, payloads[user_id]))
                if number % _TELL_EVERY == 0 or number == len(windows):
                    tell(split, number, len(windows))
        splits[split] = SplitInfo(shards=writer.shards, **split_facts(events, split, windows, has_time=has_time))
    return splits


def _versions() -> dict[str, str]:
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "pandas": pd.__version__, "triptych": VERSION}


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
