"""Checks whether records can be appended to with a spec, and computes their manifest afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from tfrecs.build.event_weights import count_negatives
from tfrecs.build.events import count_queries, protocol, train_counts
from tfrecs.build.interactions import label_schemas
from tfrecs.build.shards import versions
from tfrecs.build.splits import TRAIN
from tfrecs.build.work_folder import FinishedShard
from tfrecs.errors import DataError
from tfrecs.modalities import row
from tfrecs.rejects import Rejects
from tfrecs.schema import MANIFEST_FILE, SPLITS, Action, Addition, FeatureSchema, Manifest, Schema, ShardInfo, SplitInfo
from tfrecs.spec.models import DatasetSpec, FeatureSpec

KindOptions = Mapping[str, Mapping[str, Any]]


def check_spec(spec: DatasetSpec, manifest: Manifest, kind_options: KindOptions) -> None:
    """Refuse a spec that would make records of another form. Raises DataError."""
    schema = manifest.schema_

    def refuse(what: str, stored: object, given: object) -> None:
        if stored != given:
            raise DataError(
                f"append: {what} of the records: {stored}; of the spec: {given}; make them equal or build anew"
            )

    refuse("name", manifest.name, spec.name)
    for owner, features, specs in (
        ("item", schema.items, spec.items.features if spec.items else {}),
        ("user", schema.users, spec.users.features if spec.users else {}),
    ):
        refuse(
            f"{owner} features",
            [f"{f.name} ({f.kind})" for f in features],
            [f"{n} ({s.kind})" for n, s in specs.items()],
        )
        for feature in features:
            _check_options(feature, specs[feature.name], kind_options, refuse)
    refuse(
        "labels",
        [label.model_dump() for label in schema.labels],
        [label.model_dump() for label in label_schemas(spec.interactions)],
    )
    refuse("context", [row.name for row in schema.context], list(spec.interactions.context))
    refuse("text queries", schema.has_queries, spec.interactions.query is not None)
    if spec.effective_split.cold_items:
        raise DataError("append: the records have items made cold (split.cold_items), which is fixed; build anew")
    refuse("split and positives", manifest.protocol, protocol(spec))


def _check_options(feature: FeatureSchema, spec: FeatureSpec, kind_options: KindOptions, refuse: Any) -> None:
    """Compare the options of file kinds; other kinds keep the parameters that the build collected from all values."""
    if row(feature.kind).from_file:
        given = {**kind_options.get(spec.kind, {}), **spec.options}
        refuse(f"options of feature {feature.name}", feature.params, given)


def updated_manifest(
    manifest: Manifest,
    out: Path,
    ids: Sequence[str],
    items: Sequence[FinishedShard],
    events: pd.DataFrame,
    made: Mapping[str, Sequence[ShardInfo]],
    rejects: Rejects,
    now: str,
    action: Action,
) -> Manifest:
    """Compute the manifest after an append.

    Args:
      manifest: before.
      out: the records.
      ids: of all items.
      items: the new shards of items.
      events: all events, each with its split.
      made: split -> new shards, which are added to the existing ones or, in a resplit, replace them.
      rejects: of the append.
      now: UTC, ISO-8601.
      action: "append" or "resplit".
    """
    present = Counter({name: round(share * manifest.items) for name, share in manifest.coverage.items()})
    for shard in items:
        present.update(shard.present)
    splits = {
        name: _updated_split(
            manifest.splits[name] if action == "append" else None,
            made[name],
            events[events["split"] == code],
            manifest.schema_,
        )
        for code, name in enumerate(SPLITS)
    }
    train = events[events["split"] == TRAIN]
    addition = Addition(
        action=action,
        at=now,
        items=len(ids) - manifest.items,
        users=events["user"].nunique() - manifest.users,
        events={name: split.events - manifest.splits[name].events for name, split in splits.items()},
        shards=tuple(
            info.name for info in (*(shard.info for shard in items), *(i for part in made.values() for i in part))
        ),
        versions=versions(),
    )
    return manifest.model_copy(
        update={
            "item_shards": (*manifest.item_shards, *(shard.info for shard in items)),
            "items": len(ids),
            "users": manifest.users + addition.users,
            "interactions": len(events),
            "coverage": {name: present[name] / len(ids) for name in manifest.coverage},
            "splits": splits,
            "train_counts": train_counts(train),
            "cold_items": len(set(ids) - set(train["item"])),
            "rejected": dict(Counter(manifest.rejected) + Counter(rejects.counts())),
            "used_in_part": dict(Counter(manifest.used_in_part) + Counter(rejects.kept_counts())),
            "notes": tuple(dict.fromkeys((*manifest.notes, *rejects.notes))),
            "history": (*_dated(manifest, out), addition),
        }
    )


def _updated_split(
    former: SplitInfo | None, shards: Sequence[ShardInfo], events: pd.DataFrame, schema: Schema
) -> SplitInfo:
    known = schema.has_time and len(events) > 0
    return SplitInfo(
        shards=(*(former.shards if former else ()), *shards),
        examples=(former.examples if former else 0) + sum(shard.records for shard in shards),
        events=len(events),
        users=events["user"].nunique(),
        queries=count_queries(events),
        negatives=count_negatives(events, has_weights=schema.has_weights),
        first_time=int(events["time"].min()) if known else None,
        last_time=int(events["time"].max()) if known else None,
    )


def _dated(manifest: Manifest, out: Path) -> tuple[Addition, ...]:
    """Return the history so far. The entry of the build gets the time at which its manifest was written."""
    written = datetime.fromtimestamp(int((out / MANIFEST_FILE).stat().st_mtime), timezone.utc).isoformat()
    first = Addition(
        action="build",
        items=manifest.items,
        users=manifest.users,
        events={name: info.events for name, info in manifest.splits.items()},
        versions=manifest.versions,
    )
    return tuple(
        entry if entry.at else entry.model_copy(update={"at": written}) for entry in (manifest.history or (first,))
    )
