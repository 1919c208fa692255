"""`triptych export --update`: the current catalogue, read from raw tables and media under a run's schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.hybrid.item_index import ItemIndex, updated_index
from pipelines.model.session import Session
from pipelines.runs.progress import progress, say
from serving.wire import layout
from tfrecs.build.encoding import encoder
from tfrecs.build.feature_table import read_entities
from tfrecs.errors import DataError, ExportError, SpecError
from tfrecs.reading.item_records import ItemRecords
from tfrecs.reading.reader import Catalogue
from tfrecs.records import item_example
from tfrecs.rejects import Rejects
from tfrecs.spec.dataset_yaml import SPEC_FILE, ItemsSpec, load_spec
from tfrecs.spec.infer import infer_items


@dataclass(frozen=True)
class UpdateJob:
    """The items of the new version.

    Attributes:
      items: folder with the item table and the media, laid out as for `triptych build`. The table lists the whole
        catalogue; items that it does not list are removed.
      spec: the dataset.yaml that describes the folder; None: the one in the folder, else inferred from the columns.
      keep: the table lists additions and changes only; the other items of the run stay.
    """

    items: Path
    spec: Path | None = None
    keep: bool = False


def update_index(job: UpdateJob, session: Session, model: Path) -> tuple[ItemIndex, Rejects]:
    """Read the items of the next version and embed them.

    Args:
      job: the items.
      session: the run whose towers embed them.
      model: the model's folder; its newest version holds the items that are served now.

    Returns:
      The items, and the rows and values that could not be used.

    Raises:
      ExportError: more than `export.max_removed` of the served items would be removed.
      TriptychError: see `read_update`.
    """
    newest = layout.latest_version(model)
    served = list(layout.titles(model / str(newest))) if newest else session.catalogue.ids.tolist()
    rejects = Rejects()
    catalogue = read_update(job, session, served, rejects)
    after, before = set(catalogue.ids.tolist()), set(served)
    removed, limit = before - after, session.config.export.max_removed
    if len(removed) > limit * len(before):
        raise ExportError(
            f"{job.items}: {len(removed):,} of the {len(before):,} items that are served are not in its table, more "
            f"than export.max_removed ({limit:g}); list the whole catalogue there, or give --keep to add to it"
        )
    say(f"{len(catalogue):,} items: {len(after - before):,} new, {len(removed):,} removed; {rejects.summary()}.")
    for note in rejects.notes:
        say(note)
    return updated_index(session, catalogue), rejects


def read_update(job: UpdateJob, session: Session, served: Sequence[str], rejects: Rejects) -> Catalogue:
    """Read the catalogue of the next version.

    Args:
      job: the items.
      session: the run whose towers will embed it.
      served: item ids of the newest exported version.
      rejects: receives the rows and values that cannot be used.

    Raises:
      SpecError: the spec's features are not those that the model was trained on.
      DataError: the table does not exist, or `keep` would lose items of an earlier update.
      TooManyRejectsError: more than `build.max_bad` of the rows cannot be used.
    """
    fresh = _read(job, session, rejects, [*dict.fromkeys((*session.catalogue.ids.tolist(), *served))])
    if not job.keep:
        return fresh
    listed = set(fresh.ids.tolist())
    trained = session.catalogue
    lost = sorted(set(served) - listed - set(trained.ids.tolist()))
    if lost:
        raise DataError(
            f"{job.items}: {len(lost)} items that an earlier update added are not in its table (such as {lost[0]!r}) "
            "and the run does not hold them; list them too, or leave out --keep to drop whatever is not listed"
        )
    kept = np.flatnonzero([item not in listed for item in trained.ids.tolist()])
    return Catalogue(
        np.concatenate([trained.ids[kept], fresh.ids]), trained.records.take(kept).followed_by(fresh.records)
    )


def _read(job: UpdateJob, session: Session, rejects: Rejects, known: Sequence[str]) -> Catalogue:
    settings, features = session.config.build, session.manifest.schema_.items
    spec, source = _items_spec(job)
    given = {name: feature.kind for name, feature in spec.features.items()}
    trained = {feature.name: feature.kind for feature in features}
    if given != trained:
        raise SpecError(
            f"{source}: items.features are {_listed(given)}, the model was trained on {_listed(trained)}; "
            "give --spec the dataset.yaml that its records were built with"
        )
    entities = read_entities(job.items, "item", spec, spec.title, settings.kinds, rejects, features, known)
    serialized: list[bytes] = []
    with (
        progress("reading items", "items") as advance,
        # Threads, because an update is usually a few items and processes take seconds to start.
        encoder(entities.features, workers=settings.workers, processes=False) as encode,
    ):
        for position, payloads in enumerate(encode(entities, rejects)):
            example = item_example(entities.ids[position], entities.titles[position], payloads)
            serialized.append(example.SerializeToString(deterministic=True))
            advance(position + 1, len(entities.ids))
    rejects.enforce(settings.max_bad)
    return Catalogue(np.array(entities.ids), ItemRecords.of_bytes(serialized))


def _items_spec(job: UpdateJob) -> tuple[ItemsSpec, Path]:
    if not job.items.is_dir():
        raise DataError(f"{job.items}: no such folder; --items names the one with the item table")
    if job.spec is None and not (job.items / SPEC_FILE).is_file():
        return infer_items(job.items), job.items
    source = job.spec or job.items / SPEC_FILE
    items = load_spec(job.items, job.spec).items
    if items is None:
        raise SpecError(f"{source}: has no items, the table to update from; add it, or append events and train on")
    return items, source


def _listed(kinds: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"
