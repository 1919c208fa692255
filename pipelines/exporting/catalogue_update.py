"""The catalogue as it is now, read for `triptych export --update`: raw text, pictures and clips under a run's schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.model.session import Session
from pipelines.runs.progress import progress
from tfrecs.build.encoding import encoder
from tfrecs.build.feature_table import read_entities
from tfrecs.errors import DataError, SpecError
from tfrecs.reading.reader import Catalogue
from tfrecs.records import item_example
from tfrecs.rejects import Rejects
from tfrecs.spec.dataset_yaml import SPEC_FILE, ItemsSpec, load_spec
from tfrecs.spec.infer import infer_items


@dataclass(frozen=True)
class UpdateJob:
    """The items that the new version shall hold.

    Attributes:
      items: folder with the item table and the media, laid out as for `triptych build`. It holds the whole catalogue:
        what is not in its table is gone.
      spec: the dataset.yaml that says what is where in it; None: the one in the folder, else what its columns suggest.
      keep: the table holds additions and changes only; the other items of the run stay.
    """

    items: Path
    spec: Path | None = None
    keep: bool = False


def read_update(job: UpdateJob, session: Session, served: Sequence[str], rejects: Rejects) -> Catalogue:
    """The catalogue of the next version.

    Args:
      session: the run whose towers will embed it.
      served: ids in the newest version that is there, to tell what is lost.
      rejects: takes the rows and values that cannot be used.

    Raises:
      SpecError: the spec's features are not those that the model was trained on.
      DataError: the table is not there, or `keep` would lose items of an earlier update.
      TooManyRejectsError: more than `build.max_bad` of the configuration cannot be used.
    """
    fresh = _read(job, session, rejects)
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
        np.concatenate([trained.ids[kept], fresh.ids]),
        np.concatenate([trained.titles[kept], fresh.titles]),
        tf.concat([tf.gather(trained.serialized, kept), fresh.serialized], axis=0),
    )


def _read(job: UpdateJob, session: Session, rejects: Rejects) -> Catalogue:
    settings, features = session.config.build, session.manifest.schema_.items
    spec, source = _items_spec(job)
    said = {name: feature.kind for name, feature in spec.features.items()}
    trained = {feature.name: feature.kind for feature in features}
    if said != trained:
        raise SpecError(
            f"{source}: items.features are {_told(said)}, the model was trained on {_told(trained)}; "
            "give --spec the dataset.yaml that its records were built with"
        )
    entities = read_entities(job.items, "item", spec, spec.title, settings.kinds, rejects, features)
    serialized: list[bytes] = []
    with (
        progress("reading items", "items") as advance,
        # Threads: an update is a few items, and processes take seconds to start.
        encoder(entities.features, workers=settings.workers, processes=False) as encode,
    ):
        for position, payloads in enumerate(encode(entities, rejects)):
            example = item_example(entities.ids[position], entities.titles[position], payloads)
            serialized.append(example.SerializeToString(deterministic=True))
            advance(position + 1, len(entities.ids))
    rejects.enforce(settings.max_bad)
    return Catalogue(np.array(entities.ids), np.array(entities.titles), tf.constant(serialized, tf.string))


def _items_spec(job: UpdateJob) -> tuple[ItemsSpec, Path]:
    if not job.items.is_dir():
        raise DataError(f"{job.items}: no such folder; --items names the one with the item table")
    if job.spec is None and not (job.items / SPEC_FILE).is_file():
        return infer_items(job.items), job.items
    return load_spec(job.items, job.spec).items, job.spec or job.items / SPEC_FILE


def _told(kinds: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"
