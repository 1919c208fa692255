"""Everything that is known of users: each event once, those of a user together, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrecs.build.splits import chronological
from tfrecs.reading.features import raw_values
from tfrecs.reading.reader import event_spec, item_lookup, shard_paths
from tfrecs.reading.stored_records import stored_item_ids
from tfrecs.schema import SPLITS, Manifest

_BATCH = 256
_EVENTS = ("item_ids", "values", "times", "is_target")


@dataclass(frozen=True)
class KnownEvents:
    """All E events of U users.

    Attributes:
      user_ids: the users.
      starts: int64 [U + 1]; the events of user u are starts[u] to starts[u + 1], oldest first.
      items: int32 [E], positions in `item_ids`.
      values: float32 [E], event values, NaN = unknown.
      times: int64 [E], unix seconds, 0 = unknown.
      item_ids: bytes as objects [I], different ones.
      inputs: further inputs of a request, by name: [U, ...], bytes as objects or numbers; "" and NaN are unknown.
    """

    user_ids: Sequence[str]
    starts: np.ndarray
    items: np.ndarray
    values: np.ndarray
    times: np.ndarray
    item_ids: np.ndarray
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each user, int64 [U]."""
        return np.diff(self.starts)

    def take(self, users: np.ndarray) -> KnownEvents:
        """Return the users at these positions, in the order given."""
        lengths = self.lengths[users]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        events = np.repeat(self.starts[users] - starts[:-1], lengths) + np.arange(starts[-1])
        return replace(
            self,
            user_ids=[self.user_ids[user] for user in users.tolist()],
            starts=starts,
            items=self.items[events],
            values=self.values[events],
            times=self.times[events],
            inputs={name: values[users] for name, values in self.inputs.items()},
        )

    def before(self, moment: int) -> KnownEvents:
        """Return all users with their events before a time alone; an event of unknown time is none of these."""
        kept = (self.times > 0) & (self.times < moment)
        starts = np.concatenate([[0], np.cumsum(kept)])[self.starts]
        return replace(self, starts=starts, items=self.items[kept], values=self.values[kept], times=self.times[kept])

    def only_named_items(self) -> KnownEvents:
        """Return the same with the ids alone that an event names."""
        used, items = np.unique(self.items, return_inverse=True)
        return replace(self, items=items.astype(np.int32), item_ids=self.item_ids[used])


def by_user(
    user_ids: Sequence[str],
    users: np.ndarray,
    items: np.ndarray,
    values: np.ndarray,
    times: np.ndarray,
    item_ids: np.ndarray,
    *,
    inputs: Mapping[str, np.ndarray],
) -> KnownEvents:
    """Put the events of each user together, oldest first.

    Args:
      user_ids: the users.
      users: int [E], the user of each event.
      items, values, times: of each event; events at the same time stay in the order given.
      item_ids: what `items` points into.
      inputs: as of `KnownEvents`.
    """
    order = chronological(users, times)
    counts = np.bincount(users, minlength=len(user_ids))
    return KnownEvents(
        user_ids=user_ids,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=items[order].astype(np.int32),
        values=values[order].astype(np.float32),
        times=times[order].astype(np.int64),
        item_ids=item_ids,
        inputs=inputs,
    )


def known_events(
    records: Path,
    manifest: Manifest,
    keep: Callable[[str], bool] = lambda user: True,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> KnownEvents:
    """Read each event of all splits once, and the features of the users as a client sends them; users by their ids.

    Unknown event values come back as the mean that replaced them.

    Args:
      records: folder of the records.
      manifest: of the records.
      keep: whether to read a user, by id.
      advance: called with the Examples read, and all.
    """
    schema = manifest.schema_
    ids = stored_item_ids(records, manifest)
    lookup = item_lookup(np.array(ids))
    events = event_spec(schema)
    spec = {"user_id": tf.io.FixedLenFeature([], tf.string), **{key: events[key] for key in _EVENTS}}
    codes: dict[str, int] = {}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("users", "items", "values", "times")}
    features: dict[str, list[np.ndarray]] = {feature.name: [] for feature in schema.users}
    shards = tuple(shard for split in SPLITS for shard in manifest.splits[split].shards)
    done, total = 0, sum(shard.records for shard in shards)
    for batch in tf.data.TFRecordDataset(shard_paths(records, shards)).batch(_BATCH):
        parsed = tf.io.parse_example(batch, spec)
        users = [user.decode() for user in parsed["user_id"].numpy()]
        known = len(codes)
        own = np.array([codes.setdefault(user, len(codes)) if keep(user) else -1 for user in users], np.int32)
        row = np.repeat(own, parsed["is_target"].row_lengths().numpy())
        # An event is the target of one Example alone, and history in the others.
        chosen = (parsed["is_target"].flat_values.numpy() > 0) & (row >= 0)
        columns["users"].append(row[chosen])
        columns["items"].append(lookup.lookup(parsed["item_ids"].flat_values).numpy()[chosen])
        columns["values"].append(parsed["values"].flat_values.numpy()[chosen])
        columns["times"].append(parsed["times"].flat_values.numpy()[chosen])
        if features and len(codes) > known:
            first = np.flatnonzero(own >= known)
            first = first[np.unique(own[first], return_index=True)[1]]
            for name, value in raw_values(schema.users, tf.gather(batch, first), "users").items():
                features[name].append(value)
        done += len(users)
        advance(done, total)
    whole = {name: np.concatenate(parts) if parts else np.zeros(0, np.int32) for name, parts in columns.items()}
    user_ids = sorted(codes)
    first_seen = np.array([codes[user] for user in user_ids], np.int64)
    position = np.empty(len(codes), np.int32)
    position[first_seen] = np.arange(len(codes))
    whole["users"] = position[whole["users"]]
    item_ids = np.empty(len(ids), object)
    item_ids[:] = [item.encode() for item in ids]
    inputs = {name: np.concatenate(parts)[first_seen] for name, parts in features.items() if parts}
    return by_user(user_ids, **whole, item_ids=item_ids, inputs=inputs)
