"""`triptych build`: builds records from a data folder, or appends to them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.config import BuildConfig, Config
from pipelines.runs.progress import Advance, progress, say
from tfrecs.append.appender import Appended, append
from tfrecs.build import builder
from tfrecs.build.beam import make_with_beam
from tfrecs.build.build_plan import BuildPlan, plan_build
from tfrecs.errors import DataError, SpecError
from tfrecs.events.spool import Scratch
from tfrecs.schema import REJECTED_FILE, VOCABULARY_FILE, Manifest
from tfrecs.spec.dataset_yaml import SPEC_FILE, load_spec, spec_to_yaml
from tfrecs.spec.infer import infer_spec
from tfrecs.spec.models import DatasetSpec
from tfrecs.unix_time import UNIT_NAMES

# What is counted in the stages of a build, and how much of it is one; in all others records.
_UNITS = {
    "items of the log": ("MB", 10**6),
    "read": ("MB", 10**6),
    "distribute": ("events", 1),
    "sort": ("events", 1),
    "count": ("events", 1),
    "vocabulary": ("texts", 1),
}

IDS_ALONE = (
    "Items have no features: what content gives (new items told apart, search by meaning, embed_items) is left out; "
    "words are searched in titles, where there are any."
)


@dataclass(frozen=True)
class BuildJob:
    """What to build.

    Attributes:
      data: the data folder.
      out: folder of the records.
      config: its sections `build` and `text`, and `seed`, are read.
      spec: a dataset.yaml elsewhere; None: the one in `data`, or what its files suggest.
      vocabulary: a WordPiece vocabulary to copy instead of training one.
      append: whether to add what is new to the records at `out`.
      resplit: whether an append splits all events anew.
      runner: a Beam runner that writes the shards; None: this machine writes them.
      runner_options: options of the runner.
    """

    data: Path
    out: Path
    config: Config
    spec: Path | None = None
    vocabulary: Path | None = None
    append: bool = False
    resplit: bool = False
    runner: str | None = None
    runner_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildResult:
    out: Path
    manifest: Manifest


def read_spec(data: Path, file: Path | None) -> DatasetSpec:
    """Read the spec of a data folder; without one, infer it and print it.

    Raises:
      TriptychError: there is no such folder or file, or it is not a spec.
    """
    if file is None and data.is_dir() and not (data / SPEC_FILE).is_file():
        spec = infer_spec(data)
        say(f"{data} has no {SPEC_FILE}; this is what its files suggest (save it there to change it):\n")
        say(spec_to_yaml(spec))
        unit = spec.interactions.time_unit
        if "time_unit" in spec.interactions.model_fields_set:
            say(f"The times of {spec.interactions.file} are {UNIT_NAMES[unit]} (time_unit: {unit}).")
        return spec
    return load_spec(data, file)


def read_plan(data: Path, spec: DatasetSpec, config: Config, out: Path | None, *, quiet: bool = False) -> BuildPlan:
    """Read the tables and plan the records that `run` would write.

    Args:
      data: the data folder.
      spec: of the data set.
      config: its section `build`, and `seed`, are read.
      out: folder of the records, where that is known.
      quiet: whether to show no progress.

    Raises:
      TriptychError: the tables cannot be read, or cannot be built from.
    """
    settings = config.build
    with ExitStack() as stack:
        return plan_build(
            spec,
            data,
            seed=config.seed,
            window=settings.window,
            overlap=settings.overlap,
            kind_options=settings.kinds,
            scratch=scratch_of(settings, out),
            report=(lambda stage, done, total: None) if quiet else _stages(stack, settings, out),
        )


def scratch_of(settings: BuildConfig, out: Path | None) -> Scratch:
    """Return where and when events leave the memory: by default beside the records, else in the system's folder for such."""
    folder = Path(settings.scratch or tempfile.gettempdir())
    if settings.scratch is None and out is not None:
        folder = next(path for path in (Path(os.path.abspath(out)) / "_").parents if path.is_dir())
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name another one as build.scratch")
    return Scratch(folder, settings.events_in_memory)


def run(job: BuildJob, plan: BuildPlan | None = None) -> BuildResult:
    """Build records, or append to them.

    Args:
      job: what to build.
      plan: of the same job, from `read_plan`; None: the tables are read here.

    Raises:
      TriptychError: the data folder or its spec cannot be built from.
    """
    if job.resplit and not job.append:
        raise SpecError("--resplit goes with --append; a build without it splits anew anyway")
    if job.append and job.runner:
        raise SpecError("--append works on this machine; leave --runner away")
    if job.runner_options and not job.runner:
        raise SpecError(f"{' '.join(job.runner_options)}: options after -- belong to a --runner; name it")
    spec = read_spec(job.data, job.spec) if plan is None else plan.spec
    return _append(job, spec) if job.append else _build(job, spec, plan)


def _build(job: BuildJob, spec: DatasetSpec, plan: BuildPlan | None) -> BuildResult:
    settings = job.config.build

    def train_vocabulary(texts: object) -> list[str]:
        from towers.encoders.text import (
            train_vocabulary as train,  # keras-nlp: seconds to import, and only text needs it
        )

        sizes = f"up to {settings.vocabulary_size:,} tokens on up to {settings.vocabulary_texts:,} texts"
        say(f"  training a WordPiece vocabulary of {sizes}")
        return train(texts, settings.vocabulary_size)  # type: ignore[arg-type]

    with _vocabulary(job) as vocabulary, ExitStack() as stack:
        manifest = builder.build(
            spec,
            job.data,
            job.out,
            seed=job.config.seed,
            train_vocabulary=train_vocabulary,
            vocabulary_key=f"wordpiece {settings.vocabulary_size}",
            vocabulary_texts=settings.vocabulary_texts,
            vocabulary_file=vocabulary,
            progress=_stages(stack, settings, job.out),
            scratch=scratch_of(settings, job.out),
            plan=plan,
            elsewhere=partial(make_with_beam, runner=job.runner, options=job.runner_options) if job.runner else None,
            **_settings(settings),
        )
    say(summary(manifest, job.out))
    return BuildResult(job.out, manifest)


@contextmanager
def _vocabulary(job: BuildJob) -> Iterator[Path | None]:
    """The file of the vocabulary to copy: the one given, or one with that of the checkpoint that training will start from."""
    checkpoint = job.config.text.checkpoint
    if checkpoint is None:
        yield job.vocabulary
        return
    if job.vocabulary is not None:
        raise SpecError("--vocabulary and text.checkpoint: a checkpoint has its own vocabulary; leave one of them away")
    from towers.encoders.bert_checkpoint import open_checkpoint  # keras-nlp: seconds to import

    tokens = open_checkpoint(checkpoint).vocabulary
    with tempfile.TemporaryDirectory() as folder:  # a checkpoint may have it inside another file
        path = Path(folder) / VOCABULARY_FILE
        path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
        yield path


def _append(job: BuildJob, spec: DatasetSpec) -> BuildResult:
    if job.vocabulary is not None:
        raise SpecError("--append keeps the vocabulary of the records; leave --vocabulary away, or build anew")
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with ExitStack() as stack:
        appended = append(
            spec,
            job.data,
            job.out,
            now=now,
            progress=_stages(stack, job.config.build, job.out),
            scratch=scratch_of(job.config.build, job.out),
            resplit=job.resplit,
            **_settings(job.config.build),
        )
    say(append_summary(appended, job.out))
    return BuildResult(job.out, appended.manifest)


def _settings(settings: BuildConfig) -> dict[str, Any]:
    return {
        "max_bad": settings.max_bad,
        "window": settings.window,
        "overlap": settings.overlap,
        "items_per_shard": settings.items_per_shard,
        "examples_per_shard": settings.examples_per_shard,
        "kind_options": settings.kinds,
        "workers": settings.workers,
        "processes_from": settings.processes_from,
    }


def append_summary(appended: Appended, out: Path) -> str:
    """Describe what was added and what was not, in a few lines."""
    known = (
        f"{appended.known_items:,} items and {appended.known_events:,} interactions were there already and stay as "
        "they are."
    )
    new = appended.addition
    if new is None:
        return "\n".join([f"Nothing new for {out}: {known}", *appended.notes])
    signed = "+," if new.action == "resplit" else ","
    splits = ", ".join(f"{name} {count:{signed}}" for name, count in new.events.items())
    lines = [
        f"Added to {out}: {new.items:,} items, {new.users:,} users, {sum(new.events.values()):,} interactions "
        f"({splits}); {known}",
        *appended.notes,
    ]
    if new.action == "resplit":
        lines.append(
            "All events are split anew; `triptych train --continue` takes a model of these records on from here."
        )
        return "\n".join(lines)
    if sum(new.events.values()) and not new.events["train"]:
        lines.append(
            "None of them is older than the first held-out event, so none is for training; add --resplit to move the "
            "split times on."
        )
    if appended.late:
        lines.append(
            f"{appended.late:,} are older than another event of their user in the records, whose Examples do not know "
            "of them."
        )
    return "\n".join(lines)


def _stages(stack: ExitStack, settings: BuildConfig, out: Path | None) -> Callable[[str, int, int], None]:
    """Return a callback that shows one progress bar after another, as the builder goes from stage to stage."""
    current: dict[str, Advance] = {}

    def report(stage: str, done: int, total: int) -> None:
        unit, size = _UNITS.get(stage, ("records", 1))
        if stage not in current:
            stack.close()
            current.clear()
            if stage == "distribute":
                say(
                    f"  {total:,} events are more than build.events_in_memory ({settings.events_in_memory:,}); they are sorted "
                    f"through files without names in {scratch_of(settings, out).folder}"
                )
            current[stage] = stack.enter_context(progress(stage, unit, done // size))
        current[stage](done // size, total // size)

    return report


def summary(manifest: Manifest, out: Path | None) -> str:
    """Describe what was built and what was rejected, in a few lines; with `out` None, what would be."""
    coverage = ", ".join(f"{name} {share:.1%}" for name, share in manifest.coverage.items()) or "ids alone"
    splits = ", ".join(f"{name} {split.events:,}" for name, split in manifest.splits.items())
    rejected = sum(manifest.rejected.values())
    listed = "" if out is None else f"; each one is in {out / REJECTED_FILE}"
    lines = [
        f"{'Records' if out is None else f'Built {out}'}: {manifest.items:,} items ({coverage}), {manifest.users:,} users, "
        f"{manifest.interactions:,} interactions ({splits}); {manifest.protocol}.",
        *manifest.notes,
    ]
    if not manifest.coverage:
        lines.append(IDS_ALONE)
    if manifest.merged:
        lines.append(
            f"Merged {manifest.merged:,} interactions into others of the same user and item (interactions.keep)."
        )
    negatives = ", ".join(f"{name} {split.negatives:,}" for name, split in manifest.splits.items() if split.negatives)
    if negatives:
        lines.append(f"Explicit negatives among them (a weight below 0): {negatives}.")
    if rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(manifest.rejected.items()))
        lines.append(f"Rejected {rejected:,}: {reasons}{listed}.")
    if manifest.used_in_part:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(manifest.used_in_part.items()))
        lines.append(f"Used as far as they go: {reasons}{listed}.")
    return "\n".join(lines)
