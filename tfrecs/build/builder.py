"""Builds records from a data folder and its spec, completely or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrecs.build.build_plan import BuildPlan, plan_build
from tfrecs.build.events import protocol
from tfrecs.build.shard_writer import (
    Progress,
    UserPayloads,
    item_shards,
    make_items,
    make_windows,
    window_shards,
    write_vocabulary,
)
from tfrecs.build.shards import ItemShard, WindowShard, versions
from tfrecs.build.work_folder import FinishedShard, WorkFolder, replace_folder, work_folder
from tfrecs.check.problems import find_problems, refuse
from tfrecs.errors import DataError
from tfrecs.events.spool import Scratch
from tfrecs.rejects import listed_beside
from tfrecs.schema import (
    MANIFEST_FILE,
    SPLITS,
    Addition,
    Manifest,
    ShardInfo,
    SplitInfo,
    files_of,
)
from tfrecs.spec.models import DatasetSpec

Elsewhere = Callable[[WorkFolder, Iterable[ItemShard | WindowShard]], None]


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
    vocabulary_key: str,
    vocabulary_texts: int | None = None,
    vocabulary_file: Path | None,
    workers: int,
    processes_from: int,
    scratch: Scratch,
    progress: Progress | None,
    elsewhere: Elsewhere | None = None,
    plan: BuildPlan | None = None,
) -> Manifest:
    """Build the records of a data folder.

    Everything is written to a hidden folder beside `out`, which replaces `out` when it is complete; a build that ends
    earlier leaves `out` unchanged. The same input, spec and seed give byte-identical files, for any number of workers.

    After a mistake in the data the hidden folder is removed; where it is that too much was rejected, the list stays beside
    `out`, as `<out>.rejected.jsonl`. After a kill the folder stays, and the next build to `out` keeps each of its complete
    shards that it would itself write with the same content.

    Args:
      spec: of the data set.
      data: the data folder; never written to.
      out: folder of the records. Replaced if it holds records, refused if it holds anything else.
      seed: of the choice of cold items.
      max_bad: share of rows and values, in [0, 1], above which rejects end the build.
      window: largest number of events in a training Example.
      overlap: number of events that a user's next training Example repeats as history.
      items_per_shard: items in one file.
      examples_per_shard: user windows in one file.
      kind_options: kind -> default options.
      train_vocabulary: texts of all items and users -> tokens of the vocabulary; None: write none.
      vocabulary_texts: largest number of texts that it is trained on; None: all.
      vocabulary_key: names what else than the texts the vocabulary depends on, so that a resumed build can keep it.
      vocabulary_file: a vocabulary to copy instead of training one.
      workers: number of processes or threads that encode.
      processes_from: number of items from which on workers are processes, which take seconds to start.
      scratch: where and when events leave the memory.
      progress: called with (stage, done, total); the first `done` of a stage counts what an earlier build has completed.
      elsewhere: writes shards on other machines (see `tfrecs.build.beam`); None: all are written here.
      plan: of the same arguments; None: the tables are read here.

    Raises:
      DataError: a required table, column or file does not exist, no training event is left, or the tables alone show
        that the records would be of no use (see `tfrecs.check.problems`).
      SpecError: an option of a kind is unknown or wrong.
      TooManyRejectsError: more than `max_bad` was rejected.
    """
    report = progress or (lambda stage, done, total: None)
    out = Path(os.path.abspath(out))
    check_out(out)
    check_vocabulary(vocabulary_file)
    with listed_beside(out):
        if plan is None:
            plan = plan_build(
                spec,
                data,
                seed=seed,
                window=window,
                overlap=overlap,
                kind_options=kind_options,
                scratch=scratch,
                report=report,
            )
        refuse(find_problems(plan, max_bad))
        rejects = plan.rejects
        with work_folder(out) as work:
            write_vocabulary(
                work, plan.entities, train_vocabulary, vocabulary_key, vocabulary_file, report, vocabulary_texts
            )
            processes = len(plan.items.ids) >= processes_from
            shards = item_shards(plan.items, "items", items_per_shard)
            if elsewhere is not None:
                elsewhere(work, shards)
            items = make_items(work, shards, workers, processes, rejects, report)
            payloads = UserPayloads(plan.users.features if plan.users else (), plan.users, workers, rejects)
            to_examples = plan.to_examples()
            splits = {}
            for split in SPLITS:
                total = plan.examples(split)

                def pending(split: str = split, total: int = total) -> Iterator[WindowShard]:
                    batches, ids = plan.windows(split), plan.events.user_ids
                    return window_shards(split, total, batches, ids, to_examples, payloads, examples_per_shard)

                if elsewhere is not None:
                    elsewhere(work, pending())
                splits[split] = make_windows(work, split, pending(), total, report)
            manifest = complete(work.records, plan, items, splits, seed=seed, max_bad=max_bad)
            work.keep_only(files_of(manifest))
            replace_folder(out, work.records)
    return manifest


def check_out(out: Path) -> None:
    """Refuse a path to which records may not be written. Raises DataError."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; name a folder for the records")
    if out.is_dir() and any(out.iterdir()) and not _is_manifest(out / MANIFEST_FILE):
        raise DataError(f"{out}: holds something else than records, will not overwrite it; name another folder")


def _is_manifest(path: Path) -> bool:
    """Whether a file is a manifest of any version: records of an older version may be replaced."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format_version", "item_shards", "splits"} <= content.keys()


def check_vocabulary(file: Path | None) -> None:
    """Refuse a vocabulary file that does not exist. Raises DataError."""
    if file is not None and not file.is_file():
        raise DataError(f"{file}: no such vocabulary file")


def complete(
    folder: Path,
    plan: BuildPlan,
    items: Sequence[FinishedShard],
    splits: Mapping[str, Sequence[ShardInfo]],
    *,
    seed: int,
    max_bad: float,
) -> Manifest:
    """Write everything except the shards and the vocabulary: rejects, oracle and manifest.

    Raises:
      TooManyRejectsError: more than `max_bad` was rejected.
    """
    plan.rejects.enforce(max_bad)
    plan.rejects.write(folder)
    if plan.oracle:
        shutil.copyfile(plan.oracle, folder / plan.oracle.name)
    present = Counter[str]()
    for shard in items:
        present.update(shard.present)
    manifest = plan_manifest(plan, seed, present, [shard.info for shard in items], splits)
    manifest.save(folder)
    return manifest


def plan_manifest(
    plan: BuildPlan,
    seed: int,
    present: Mapping[str, int],
    items: Sequence[ShardInfo] = (),
    splits: Mapping[str, Sequence[ShardInfo]] | None = None,
) -> Manifest:
    """Return the manifest of a plan.

    Args:
      plan: what is, or would be, built.
      seed: of the choice of cold items.
      present: item feature -> number of items that have it.
      items: shards of items; none before they are written.
      splits: split -> its shards; None before they are written.
    """
    events, facts, total = plan.events, plan.events.facts, len(plan.items.ids)
    infos = {
        split: SplitInfo(shards=tuple(splits[split]) if splits else (), **facts.split_info(split)) for split in SPLITS
    }
    return Manifest(
        name=plan.spec.name,
        seed=seed,
        schema_=plan.schema,
        item_shards=tuple(items),
        items=total,
        users=facts.users,
        interactions=facts.events,
        coverage={feature.name: present[feature.name] / total for feature in plan.items.features},
        splits=infos,
        train_counts=facts.train_counts(events.item_ids),
        cold_items=int((facts.train_events == 0).sum()),
        merged=events.merged,
        rejected=plan.rejects.counts(),
        used_in_part=plan.rejects.kept_counts(),
        notes=tuple(plan.rejects.notes),
        versions=versions(),
        protocol=protocol(plan.spec, events.cold_items, events.dropped),
        oracle=plan.oracle.name if plan.oracle else None,
        history=(
            Addition(
                action="build",
                items=total,
                users=facts.users,
                events={split: info.events for split, info in infos.items()},
                versions=versions(),
            ),
        ),
    )
