"""Appends new items and interactions to existing records without changing what they hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tfrecs.append.manifest_update import KindOptions, check_spec, updated_manifest
from tfrecs.append.new_rows import count_late, merge, new_events, new_items, refuse_repeats, split_anew, with_splits
from tfrecs.build.events import ToExamples
from tfrecs.build.feature_table import Entities, read_entities
from tfrecs.build.shard_writer import Progress, UserPayloads, item_shards, make_items, make_windows, window_shards
from tfrecs.build.work_folder import FinishedShard, replace_file, work_folder
from tfrecs.events.frames import coded
from tfrecs.events.spool import Scratch
from tfrecs.reading.features import features_for
from tfrecs.reading.reader import shard_paths
from tfrecs.reading.stored_records import stored_events, stored_item_ids, stored_user_payloads
from tfrecs.rejects import Rejects, listed_beside, source_of
from tfrecs.schema import MANIFEST_FILE, REJECTED_FILE, Action, Addition, Manifest, ShardInfo, files_of
from tfrecs.spec.models import DatasetSpec
from tfrecs.tables.table import is_there


@dataclass(frozen=True)
class Appended:
    """The result of an append.

    Attributes:
      manifest: of the records, afterwards.
      addition: None where nothing was new; then nothing was written.
      known_items, known_events: how many of the folder the records held already; these stay as they are.
      late: how many new events are older than an event of the same user in the records.
      notes: what was read in another way than it stands in the data, and what of the new was rejected.
    """

    manifest: Manifest
    addition: Addition | None
    known_items: int
    known_events: int
    late: int
    notes: tuple[str, ...]


def append(
    spec: DatasetSpec,
    data: Path,
    out: Path,
    *,
    max_bad: float,
    window: int,
    overlap: int,
    items_per_shard: int,
    examples_per_shard: int,
    kind_options: KindOptions,
    workers: int,
    processes_from: int,
    scratch: Scratch,
    now: str,
    progress: Progress | None,
    resplit: bool = False,
) -> Appended:
    """Add what is new in a data folder: items with unknown ids, and interactions that the records do not hold.

    The folder may be the grown one that the records were built from, or one with the new rows only; the table of items
    or of interactions may be absent. Existing shards, the positions of their items, the vocabulary and all parameters of
    the schema stay as they are.

    A new event goes to the split that the split times of the records give it: an event newer than the first test event is
    test. Its Example holds the user's earlier events, old and new, as history (`is_target` 0). Existing Examples are not
    changed and so lack events that arrive late. An event is known if the records hold one of the same user, item and time.

    With `resplit` all events, old and new, are split as a build of all of them would split them: former test events become
    training events. The shards of interactions are then written anew and the old ones removed, so nothing may read them
    meanwhile; items, their positions, vocabulary and schema stay, and training can continue from a model of the records.

    Args:
      now: UTC, ISO-8601, for the history of the manifest.
      resplit: whether to split all events anew.
      Others: as of `tfrecs.build.builder.build`.

    Raises:
      DataError: `out` holds no records, the spec does not fit them, new events cannot be split as theirs were, they would
        change stored ones (`interactions.keep`), or `resplit` of a split that is a column of the table.
      TooManyRejectsError: more than `max_bad` of what is new was rejected; nothing was added.
    """
    report = progress or (lambda stage, done, total: None)
    out = Path(os.path.abspath(out))
    Manifest.load(out)
    with listed_beside(out), work_folder(out) as work:
        manifest = Manifest.load(out)  # Again: another append may have finished in between.
        shard_paths(out, _all_shards(manifest))
        check_spec(spec, manifest, kind_options)
        report("read", 0, 1)
        rejects, known = Rejects(), Counter[str]()
        old_ids = stored_item_ids(out, manifest)
        items = new_items(spec, data, manifest, old_ids, rejects, known)
        known_items = known.total()
        ids = [*old_ids, *(items.ids if items else ())]
        old = stored_events(out, manifest)
        old_users = old["user"].unique().tolist()
        users = _users(spec, data, manifest, kind_options, rejects, old_users)
        user_ids = [*dict.fromkeys((*old_users, *(users.ids if users else ())))]
        new = new_events(spec, data, manifest, old, ids, rejects, known, user_ids, scratch)
        refuse_repeats(new, old, spec, resplit=resplit)
        report("read", 1, 1)
        counted = (known_items, known.total() - known_items, count_late(old, new))
        listed = _listed(out, manifest)
        if items is None and not len(new) and not resplit:
            fresh = _unlisted(rejects, set(listed), known)
            fresh.enforce(max_bad)
            return Appended(manifest, None, *counted, _notes(rejects, fresh))
        if resplit:
            merged = split_anew(old, new, spec, ids, window, overlap, scratch)
        else:
            merged = merge(old, with_splits(new, spec, manifest))
        action: Action = "resplit" if resplit else "append"
        prefix = f"{action}{1 + sum(entry.action == action for entry in manifest.history):03d}"
        finished: list[FinishedShard] = []
        if items is not None:
            shards = item_shards(items, f"items-{prefix}", items_per_shard)
            finished = make_items(work, shards, workers, len(items.ids) >= processes_from, rejects, report)
        payloads = UserPayloads(features_for(manifest.schema_.users), users, workers, rejects)
        payloads.add(stored_user_payloads(out, manifest, {user for user in merged.user_ids if user not in payloads}))
        columns, texts = coded(merged.frame)
        to_examples = ToExamples(manifest.schema_, texts.pop("item"), texts)
        made: dict[str, list[ShardInfo]] = {}
        for split, windows in merged.windows(window, overlap).items():
            pending = window_shards(
                f"{split}-{prefix}",
                len(windows),
                [(iter(windows), columns, merged.new)],
                merged.user_ids,
                to_examples,
                payloads,
                examples_per_shard,
            )
            made[split] = make_windows(work, split, pending, len(windows), report) if windows else []
        fresh = _unlisted(rejects, set(listed), known)
        fresh.enforce(max_bad)
        events = merged.frame if resplit else _together(old, merged.frame[merged.new])
        grown = updated_manifest(manifest, out, ids, finished, events, made, fresh, now, action)
        for name in grown.history[-1].shards:
            (work.records / name).replace(out / name)
        lines = [*listed, *(reject.line_of_json() for reject in fresh)]
        replace_file(out / REJECTED_FILE, "".join(f"{line}\n" for line in lines))
        replace_file(out / MANIFEST_FILE, grown.to_json())  # Last: until then, readers see the former state.
        for name in files_of(manifest) - files_of(grown):
            (out / name).unlink()
    return Appended(grown, grown.history[-1], *counted, _notes(rejects, fresh))


def _notes(rejects: Rejects, fresh: Rejects) -> tuple[str, ...]:
    return (*rejects.notes, *([f"Of what is new, {fresh.summary()}."] if fresh.counts() else []))


def _together(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([old, new], ignore_index=True) if len(new) else old


def _users(
    spec: DatasetSpec, data: Path, manifest: Manifest, kind_options: KindOptions, rejects: Rejects, known: Sequence[str]
) -> Entities | None:
    given, schemas = spec.users, manifest.schema_.users
    if given is None or not is_there(data, given.file):
        return None
    return read_entities(data, "user", given, None, kind_options, rejects, schemas, known)


def _listed(out: Path, manifest: Manifest) -> list[str]:
    """Return the lines of `rejected.jsonl` that the manifest counts; a killed append may have added others."""
    count = sum(manifest.rejected.values()) + sum(manifest.used_in_part.values())
    return (out / REJECTED_FILE).read_text(encoding="utf-8").split("\n")[:count] if count else []


def _unlisted(rejects: Rejects, listed: set[str], known: Mapping[str, int]) -> Rejects:
    """Return the rejects that are not listed yet, with the number of new rows and values examined."""
    fresh, repeated = [], Counter[str]()
    for reject in rejects:
        if reject.line_of_json() in listed:
            repeated[source_of(reject)] += 1
        else:
            fresh.append(reject)
    result = Rejects()
    seen = {source: count - known.get(source, 0) - repeated[source] for source, count in rejects.seen_counts().items()}
    result.extend(seen, fresh)
    result.notes, result.explanations = rejects.notes, rejects.explanations
    return result


def _all_shards(manifest: Manifest) -> tuple[ShardInfo, ...]:
    return (*manifest.item_shards, *(shard for split in manifest.splits.values() for shard in split.shards))
