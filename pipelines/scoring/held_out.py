"""The requests of the held-out splits of a session."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.model.session import Session
from pipelines.runs.progress import progress
from pipelines.scoring.requests import Choose, Requests, first_requests, make_requests
from pipelines.scoring.sampling import Sample, draw_sample
from tfrecs.errors import DataError
from tfrecs.reading.reader import Histories

__all__ = ["COLD_ITEMS", "COLD_USERS", "all_validation_requests", "first_validation_requests", "held_out_requests"]
__all__ += ["sampled_requests", "validation_requests"]

COLD_ITEMS, COLD_USERS = "cold_items", "cold_users"


def held_out_requests(session: Session) -> Requests:
    """Return the requests of the test split.

    Raises:
      DataError: there is none.
    """
    return _not_empty(session, _requests(session, "test"))


def sampled_requests(session: Session) -> tuple[Requests, Sample]:
    """Return at most `evaluate.max_requests` requests of the test split, and those that fill up the slices of cold ones.

    Returns:
      the requests [Q] and how they were drawn; its slices are `COLD_ITEMS`, requests whose targets all have no training
      event, and `COLD_USERS`.

    Raises:
      DataError: there is none.
    """
    settings, drawn = session.config.evaluate, []
    known, is_cold = set(session.events.user_ids.tolist()), session.catalogue.counts(session.manifest) == 0

    def choose(users: np.ndarray, targets: Sequence[np.ndarray]) -> np.ndarray:
        asked = np.array([len(items) > 0 for items in targets], bool)
        cold_items = np.array([bool(is_cold[items].all()) for items in targets], bool)
        cold_users = np.array([user not in known for user in users.tolist()], bool)
        rare = {COLD_ITEMS: cold_items & asked, COLD_USERS: cold_users & asked}
        sample = draw_sample(len(users), settings.max_requests, rare, settings.slice_requests, session.config.seed)
        drawn.append(sample)
        return sample.chosen

    requests = _not_empty(session, _requests(session, "test", choose=choose))
    return requests, drawn[0]


def validation_requests(session: Session) -> Requests:
    """Return requests of the validation split, at most `train.validation_queries`: the same ones for every run."""
    return _requests(session, "valid", session.config.train.validation_queries)


def all_validation_requests(session: Session) -> Requests:
    """Return all requests of the validation split."""
    return _requests(session, "valid")


def first_validation_requests(session: Session) -> np.ndarray:
    """Return the time of the first validation request with each item among its held-out events, see `first_requests`."""
    with progress("first requests of items", "users") as advance:
        histories = Histories(session.records, session.manifest, "valid", session.catalogue.ids, advance)
        return first_requests(histories, session.manifest.schema_, len(session.catalogue))


def _not_empty(session: Session, requests: Requests) -> Requests:
    if not len(requests):
        raise DataError(f"{session.records}: the test split is empty; change `split` in dataset.yaml and build again")
    return requests


def _requests(session: Session, split: str, limit: int | None = None, choose: Choose | None = None) -> Requests:
    with progress(f"requests of {split}", "users") as advance:
        histories = Histories(session.records, session.manifest, split, session.catalogue.ids, advance)
        schema, seed = session.manifest.schema_, session.config.seed
        return make_requests(histories, schema, limit=limit, seed=seed, choose=choose)
