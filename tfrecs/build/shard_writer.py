"""Writes the shards of a build, one after the other, and the vocabulary."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrecs.build.encoding import encoder
from tfrecs.build.feature_table import Entities
from tfrecs.build.shards import ItemShard, WindowPart, WindowShard, cut, versions, window_shard
from tfrecs.build.windows import Window
from tfrecs.build.work_folder import FinishedShard, WorkFolder
from tfrecs.errors import DataError
from tfrecs.kinds.base import Feature
from tfrecs.records import Payloads, shard_ranges
from tfrecs.rejects import Rejects
from tfrecs.schema import VOCABULARY_FILE, ShardInfo

Progress = Callable[[str, int, int], None]


def write_vocabulary(
    work: WorkFolder,
    entities: Sequence[Entities],
    train: Callable[[Iterable[str]], list[str]] | None,
    train_key: str,
    given: Path | None,
    report: Progress,
    most: int | None = None,
) -> None:
    """Write `vocab.txt`: a copy of `given`, else what `train` makes of the texts, else no file.

    Args:
      work: of the build.
      entities: items, and users where they have features.
      train: texts -> tokens; None: train nothing.
      train_key: names what else than the texts the vocabulary depends on.
      given: a vocabulary file to copy.
      report: called with (stage, done, total).
      most: largest number of texts that are trained on; of more, evenly spaced ones. None: all.
    """
    if given is not None:
        shutil.copyfile(given, work.records / VOCABULARY_FILE)
        return
    texts = [text for part in entities for text in _texts(part)]
    texts = texts[:: 1 if most is None else max(1, math.ceil(len(texts) / most))]
    if train is None or not texts:
        (work.records / VOCABULARY_FILE).unlink(missing_ok=True)
        return
    learn = train

    def trained() -> str:
        def counted() -> Iterator[str]:
            for number, text in enumerate(texts):
                report("vocabulary", number, len(texts))
                yield text

        return "".join(f"{token}\n" for token in learn(counted()))

    key = hashlib.sha256(repr((train_key, sorted(versions().items()), texts)).encode()).hexdigest()
    work.text_file(VOCABULARY_FILE, key, trained)
    report("vocabulary", len(texts), len(texts))


def _texts(entities: Entities) -> Iterator[str]:
    """Yield the texts for the vocabulary: encoded values of the features whose value is a single string."""
    for feature in entities.features:
        if feature.spec.dtype == tf.string and feature.spec.shape.rank == 0:
            for value in entities.values[feature.name]:
                try:
                    payload = feature.encode(value)
                except DataError:  # Not swallowed: the value is rejected, by name, when its item is written.
                    continue
                yield from (text.decode() for text in payload.bytes_list.value)


def item_shards(items: Entities, prefix: str, per_shard: int) -> list[ItemShard]:
    """Cut the catalogue into shards, in order. Raw values are shared, not copied."""
    return [ItemShard(name, items.part(rows)) for name, rows in shard_ranges(prefix, len(items.ids), per_shard)]


def make_items(
    work: WorkFolder, shards: Sequence[ItemShard], workers: int, processes: bool, rejects: Rejects, report: Progress
) -> list[FinishedShard]:
    """Write the item shards that an earlier build has not completed.

    Args:
      work: of the build.
      shards: all of them, in order.
      workers: how many encode at a time.
      processes: whether workers are processes instead of threads.
      rejects: takes the refused values of all shards, in the order of the items.
      report: called with (stage, done, total).

    Returns:
      All shards, in order.
    """
    total = sum(len(shard.items.ids) for shard in shards)
    keys = [shard.key() for shard in shards]
    found = [work.finished(shard.name, key) for shard, key in zip(shards, keys, strict=True)]
    done = sum(one.info.records for one in found if one)
    report("items", done, total)
    with ExitStack() as stack:

        def counted(items: Entities, local: Rejects) -> Iterator[dict[str, tf.train.Feature]]:
            nonlocal done
            for payloads in encode(items, local):
                done += 1
                report("items", done, total)
                yield payloads

        if not all(found):  # Else no process is started.
            encode = stack.enter_context(encoder(shards[0].items.features, workers=workers, processes=processes))
        finished = [
            kept or work.finish(shard.make(work.records, key, counted))
            for shard, key, kept in zip(shards, keys, found, strict=True)
        ]
    for one in finished:
        rejects.extend(one.seen, one.rejects)
    return finished


class UserPayloads:
    """Mapping from user id to payloads of the user features; users without a row have missing ones."""

    def __init__(self, features: Sequence[Feature], users: Entities | None, workers: int, rejects: Rejects):
        self._known: dict[str, Payloads] = {}
        self._unknown: Payloads = {feature.name: feature.encode(None) for feature in features}
        if users:
            with encoder(users.features, workers=workers, processes=False) as encode:
                self._known.update(zip(users.ids, encode(users, rejects), strict=True))

    def __getitem__(self, user_id: str) -> Payloads:
        return self._known.get(user_id, self._unknown)

    def add(self, known: Mapping[str, Payloads]) -> None:
        """Add payloads of users that have no row in the table."""
        self._known.update(known)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._known


WindowBatch = tuple[Iterator[Window], Mapping[str, np.ndarray], np.ndarray | None]
"""Windows, the columns of sorted events that they count in, and which of these are new (None: all)."""


def window_shards(
    prefix: str,
    total: int,
    batches: Iterable[WindowBatch],
    user_ids: Sequence[str],
    to_examples: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    payloads: UserPayloads,
    per_shard: int,
) -> Iterator[WindowShard]:
    """Yield the shards of one split, in order, with no more in memory than one of them and a batch.

    Args:
      prefix: of the names of the files.
      total: number of windows in all batches.
      batches: in the order of the users.
      user_ids: user code -> id.
      to_examples: turns events into arrays by Example key.
      payloads: user features.
      per_shard: windows in one file.
    """
    ranges = iter(shard_ranges(prefix, total, per_shard))
    name, rows = next(ranges)
    parts: list[WindowPart] = []
    left = len(rows)
    for windows, columns, new in batches:
        while several := list(islice(windows, left)):
            parts.append(cut(several, columns, to_examples, new))
            left -= len(several)
            if not left:
                yield window_shard(name, parts, user_ids, payloads.__getitem__)
                name, rows = next(ranges, ("", range(0)))
                parts, left = [], len(rows)
        if not total:
            yield window_shard(name, [cut([], columns, to_examples, new)], user_ids, payloads.__getitem__)
            return


def make_windows(
    work: WorkFolder, split: str, shards: Iterable[WindowShard], total: int, report: Progress
) -> list[ShardInfo]:
    """Write the shards of one split that an earlier build has not completed; `total` counts their Examples."""
    infos: list[ShardInfo] = []
    done = 0
    for shard in shards:
        key = shard.key()
        finished = work.finished(shard.name, key) or work.finish(shard.make(work.records, key))
        infos.append(finished.info)
        done += finished.info.records
        report(split, done, total)
    return infos
