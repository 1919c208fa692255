"""The requests of the held-out splits of a session."""

from __future__ import annotations

from pipelines.model.session import Session
from pipelines.scoring.requests import Requests, make_requests
from tfrecs.errors import DataError
from tfrecs.reading.reader import load_histories

__all__ = ["all_validation_requests", "held_out_requests", "validation_requests"]


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


def _requests(session: Session, split: str, limit: int | None) -> Requests:
    histories = load_histories(session.records, session.manifest, split, session.catalogue.ids)
    return make_requests(histories, session.manifest.schema_, limit=limit, seed=session.config.seed)
