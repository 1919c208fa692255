"""The requests of the held-out splits of a session."""

from __future__ import annotations

import numpy as np

from pipelines.model.session import Session
from pipelines.runs.progress import progress
from pipelines.scoring.requests import Requests, first_requests, make_requests
from tfrecs.errors import DataError
from tfrecs.reading.reader import Histories

__all__ = ["all_validation_requests", "first_validation_requests", "held_out_requests", "validation_requests"]


def held_out_requests(session: Session) -> Requests:
    """Return the requests of the test split.

    Raises:
      DataError: there is none.
    """
    requests = _requests(session, "test", None)
    if not len(requests):
        raise DataError(f"{session.records}: the test split is empty; change `split` in dataset.yaml and build again")
    return requests


def validation_requests(session: Session) -> Requests:
    """Return requests of the validation split, at most `train.validation_queries`: the same ones for every run."""
    return _requests(session, "valid", session.config.train.validation_queries)


def all_validation_requests(session: Session) -> Requests:
    """Return all requests of the validation split."""
    return _requests(session, "valid", None)


def first_validation_requests(session: Session) -> np.ndarray:
    """Return the time of the first validation request with each item among its held-out events, see `first_requests`."""
    with progress("first requests of items", "users") as advance:
        histories = Histories(session.records, session.manifest, "valid", session.catalogue.ids, advance)
        return first_requests(histories, session.manifest.schema_, len(session.catalogue))


def _requests(session: Session, split: str, limit: int | None) -> Requests:
    with progress(f"requests of {split}", "users") as advance:
        histories = Histories(session.records, session.manifest, split, session.catalogue.ids, advance)
        return make_requests(histories, session.manifest.schema_, limit=limit, seed=session.config.seed)
