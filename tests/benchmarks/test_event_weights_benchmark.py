"""The generated log of the benchmark of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.event_weights import EVENTS, GENRES, READINGS, SHARES, USERS, make_log, write_data
from tfrecs.spec.dataset_yaml import load_spec


def test_purchases_and_dislikes_of_a_user_are_of_two_genres_each_and_no_pair_repeats() -> None:
    log = make_log(3)
    assert len(log) == USERS * EVENTS
    assert not log.duplicated(["user_id", "item_id"]).any()
    assert not log.duplicated(["user_id", "timestamp"]).any()
    genre = log["item_id"].str[1:].astype(int) % GENRES
    genres = genre.groupby([log["user_id"], log["event"]]).agg(set).unstack()
    assert genres["buy"].dropna().map(len).max() == 2
    assert genres["dislike"].dropna().map(len).max() == 2
    both = genres[["buy", "dislike"]].dropna()
    assert not [True for bought, disliked in both.itertuples(index=False) if bought & disliked]
    np.testing.assert_allclose(
        log["event"].value_counts(normalize=True)[list(SHARES)], list(SHARES.values()), atol=0.01
    )
    assert make_log(3).equals(log)
    assert not make_log(4).equals(log)


def test_every_reading_is_a_valid_spec_that_measures_purchases(tmp_path: Path) -> None:
    log = make_log(0).head(50)
    for number, weights in enumerate(READINGS.values()):
        write_data(tmp_path / str(number), log, weights)
        weight = load_spec(tmp_path / str(number), None).interactions.weight
        if weights is None:
            assert weight is None
        else:
            assert weight is not None
            assert weight.held_out_at_least == weights["buy"]
